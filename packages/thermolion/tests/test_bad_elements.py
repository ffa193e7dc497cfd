"""A gradient element that is not finite spoils itself and no other, on every path."""

import math

import pytest
import torch
from thermolion import ThermoLion
from torch.nn import Parameter

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
SIZES = [3, 1, 700, 3000, 5, 7, 70_000]  # tiny ones go together on the default path, 70,000 is more than a block
PLACES = [0, 0, 699, 1024, 4, 3, 69_999]


def run(bad, path, dtype, **settings):
    generator = torch.Generator().manual_seed(3)
    params = [Parameter(torch.randn(size, generator=generator).to(dtype)) for size in SIZES]
    optimizer = ThermoLion(params, seed=1, lr=0.01, **path, **settings)
    for t in range(3):
        for param, place in zip(params, PLACES, strict=True):
            param.grad = torch.randn(param.shape, generator=generator).to(dtype)
            if t == 1:
                param.grad[place] = bad
        optimizer.step()
    return [param.detach() for param in params]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("temp_decay", [0.99, 0.001], ids=["warm", "cold"])
def test_the_others_step_as_if_it_were_zero(path, dtype, bad, temp_decay):
    spoilt, clean = (run(value, path, dtype, temp_decay=temp_decay) for value in (bad, 0.0))
    for a, b, place in zip(spoilt, clean, PLACES, strict=True):
        assert not a[place].isfinite()
        others = torch.arange(len(a)) != place
        assert torch.equal(a[others], b[others])
        assert b.isfinite().all()


def test_a_square_that_overflows_leaves_every_element_finite(path):
    for param in run(1e25, path, torch.float32):
        assert param.isfinite().all()


def test_a_complex_element_spoils_its_own_half_alone(path):
    param = Parameter(torch.ones(40, dtype=torch.complex64))
    optimizer = ThermoLion([param], seed=1, **path)
    param.grad = torch.full_like(param, 0.5 + 0.5j)
    torch.view_as_real(param.grad)[7, 1] = math.nan
    optimizer.step()
    finite = torch.view_as_real(param.detach()).isfinite()
    assert not finite[7, 1]
    assert finite.sum() == 79
