"""The C++ noise against the reference in torch ops, to the bit."""

import pytest
import torch
from torcheggroll.noise import fused_cpu, reference
from torcheggroll.noise.counter import start, starts_of
from torcheggroll.noise.layout import layout, perturbed_shape
from torcheggroll.noise.perturbation import Members, Noise

SIZES = [(6, 10), (6,), (), (5, 3, 2, 2), (0, 4), (1, 7, 4), (300, 500), (2050,), (17, 1)]
SHAPES = tuple(perturbed_shape(size, 3) for size in SIZES)
PER_WORD = {"gaussian": 4, "uniform": 4, "rademacher": 64}
PAIRS = torch.tensor([4, 0, 7, 2**40])


@pytest.fixture(autouse=True)
def _compiled():
    if fused_cpu.kernel() is None:
        pytest.skip("no C++ compiler here")


def drawn(path, distribution, dtype, mirrored, weights, dense=True, threads=1):
    row = layout(SHAPES, tuple(range(len(SHAPES))), PER_WORD[distribution], dense)
    out = torch.zeros(len(PAIRS) * (1 + mirrored), row.width, dtype=dtype)
    scales = torch.linspace(0.013, 1.7, len(SHAPES), dtype=torch.float64)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        path.fill(out, row, starts_of(-3, 5, 16), PAIRS, scales, weights, mirrored, distribution)
    finally:
        torch.set_num_threads(before)
    return torch.cat([out[:, first:last] for first, last in row.columns], 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("distribution", sorted(PER_WORD))
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_the_reference_to_the_bit(distribution, dtype, mirrored, weighted):
    weights = torch.tensor([0.3, -1.7, 0.0, 9.1], dtype=torch.float64) if weighted else None
    ours, theirs = (drawn(path, distribution, dtype, mirrored, weights) for path in (fused_cpu, reference))
    assert torch.equal(ours, theirs)
    assert ours.count_nonzero() > ours.numel() / 2
    assert torch.equal(ours, drawn(fused_cpu, distribution, dtype, mirrored, weights, threads=2))
    unscaled = drawn(fused_cpu, distribution, dtype, mirrored, weights, dense=False)
    assert torch.equal(unscaled, drawn(reference, distribution, dtype, mirrored, weights, dense=False))
    assert not torch.equal(unscaled, ours)


def test_low_precision_is_the_float32_number_rounded_once():
    whole = drawn(fused_cpu, "gaussian", torch.float32, True, None)
    assert torch.equal(whole.bfloat16(), drawn(fused_cpu, "gaussian", torch.bfloat16, True, None))


def test_starts_of_many_parameters_are_those_of_each():
    assert starts_of(-7, 3, 5).tolist() == [start(-7, 3, j) for j in range(5)]


def test_parameters_of_two_dtypes_are_drawn_in_their_own():
    dtypes = [torch.float64 if j % 2 else torch.bfloat16 for j in range(len(SHAPES))]
    members = Members([0, 1, 2, 3], True, torch.device("cpu"))
    mixed = Noise(1, "gaussian").deltas(0, members, SHAPES, 0.1, dtypes)
    alike = Noise(1, "gaussian").deltas(0, members, SHAPES, 0.1, [torch.float64] * len(SHAPES))
    for ours, theirs, dtype in zip(mixed, alike, dtypes, strict=True):
        for a, b in zip(ours.tensors, theirs.tensors, strict=True):
            assert a.dtype == dtype
            torch.testing.assert_close(a.double(), b, rtol=0.004, atol=0)
