from statistics import NormalDist

import pytest
import torch
from torcheggroll.noise.distributions import DISTRIBUTIONS, quantiles

WORDS = torch.tensor([[0x0123456789ABCDEF, -1, 0, -(2**63)]])


def lanes(word, bits):
    return [(word % 2**64) >> (bits * k) & (2**bits - 1) for k in range(64 // bits)]


def test_rademacher_reads_one_sign_per_bit():
    want = [2 * b - 1 for w in WORDS[0].tolist() for b in lanes(w, 1)]
    assert DISTRIBUTIONS["rademacher"].read(WORDS)[0].tolist() == want


def test_uniform_reads_sixteen_signed_bits():
    signed = [u - 2**16 if u >= 2**15 else u for w in WORDS[0].tolist() for u in lanes(w, 16)]
    want = [(s + 0.5) * (12 / (2**32 - 1)) ** 0.5 for s in signed]
    assert DISTRIBUTIONS["uniform"].read(WORDS)[0].tolist() == pytest.approx(want, rel=1e-6)


def test_gaussian_reads_the_mean_of_each_of_65536_equal_classes():
    want = [lane for w in WORDS[0].tolist() for lane in lanes(w, 16)]
    z = DISTRIBUTIONS["gaussian"].read(WORDS)[0].tolist()
    normal = NormalDist()
    for u, value in zip(want, z, strict=True):
        low = normal.inv_cdf(u / 65536) if u else -6.0
        high = normal.inv_cdf((u + 1) / 65536) if u < 65535 else 6.0
        assert low - 1e-4 <= value <= high + 1e-4


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_every_distribution_is_symmetric_with_unit_variance(name):
    if name == "gaussian":
        z = quantiles(torch.device("cpu")).double()
    elif name == "uniform":
        z = (torch.arange(-(2**15), 2**15).double() + 0.5) * (12 / (2**32 - 1)) ** 0.5
    else:
        z = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    assert torch.equal(z, -z.flip(0))
    assert float(z.square().mean()) == pytest.approx(1, abs=1e-6)


def test_the_gaussian_has_the_kurtosis_and_the_quantiles_of_the_normal():
    z = quantiles(torch.device("cpu")).double()
    assert float(z.pow(4).mean()) == pytest.approx(3, rel=2e-3)
    for p in (0.001, 0.01, 0.25, 0.9, 0.9999):
        assert float(z[int(p * 65536)]) == pytest.approx(NormalDist().inv_cdf(p), abs=2e-2)
