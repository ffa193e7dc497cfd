"""Half precision: finite where 0.1.0 was not, near float32, and stochastic rounding without bias."""

import math
import re
from pathlib import Path

import pytest
import torch
from thermolion import ThermoLion
from thermolion._paths.precision import rounded
from torch.nn import Parameter

HALVES = [torch.float16, torch.bfloat16]
PATHS = [{}, {"foreach": False, "fused": False}, {"foreach": True}]
STEPS = 2000


def minimize(dtype, **settings):
    """Noisy gradients of a badly scaled quadratic from the same points, and where it ends, in float64.

    The gradients are taken where the parameters stand, in float32, and a hundredth of their elements is zero.
    """
    generator = torch.Generator().manual_seed(1)
    scale = 10 ** torch.empty(400).uniform_(-3, 1, generator=generator)
    target = torch.randn(400, generator=generator)
    param = Parameter(torch.zeros(400, dtype=dtype))
    optimizer = ThermoLion([param], seed=3, **settings)
    for t in range(STEPS):
        optimizer.param_groups[0]["lr"] = 2e-3 * (1 - t / STEPS)
        gradient = scale * (param.detach().float() - target + torch.randn(400, generator=generator))
        gradient[torch.rand(400, generator=generator) < 0.01] = 0.0
        param.grad = gradient.to(dtype)
        optimizer.step()
        assert param.isfinite().all()
    return param.detach().double()


def rms(values):
    return values.square().mean().sqrt().item()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("path", PATHS, ids=str)
def test_a_long_run_stays_finite_and_near_float32(dtype, path):
    away = rms(minimize(dtype, **path) - minimize(torch.float32, **path))
    print(f"{dtype} {path}: {away:.2e}")
    assert away < (0.03 if dtype == torch.float16 else 0.5)  # where all parameters together have a rms of 1


@pytest.mark.slow
def test_stochastic_rounding_closes_most_of_the_gap():
    exact = minimize(torch.float32)
    nearest = rms(minimize(torch.bfloat16, state_dtype=torch.float32) - exact)
    stochastic = rms(minimize(torch.bfloat16, state_dtype=torch.float32, stochastic_rounding=True) - exact)
    print(f"to nearest {nearest:.2e}, stochastic {stochastic:.2e}")
    assert stochastic < 0.25 * nearest


@pytest.mark.slow
def test_the_readme_states_the_distances_that_are_measured():
    exact = minimize(torch.float32)
    runs = ({"dtype": torch.float16}, {"dtype": torch.bfloat16}, {"dtype": torch.bfloat16, "stochastic_rounding": True})
    measured = [rms(minimize(**run) - exact) for run in runs]
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    text = readme.split("## Half precision")[1].split("\n## ")[0]
    stated = [float(number) for number in re.findall(r"\b0\.\d+\b", text)]
    assert stated == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("size", [0.0, 1e-7, 1e-3, 300.0, 60000.0])
def test_gradients_of_any_size_leave_finite_parameters(dtype, path, size):
    param = Parameter(torch.ones(50, dtype=dtype))
    optimizer = ThermoLion([param], seed=1, lr=0.01, **path)
    for _ in range(4):
        param.grad = torch.full_like(param, size)
        optimizer.step()
        assert param.isfinite().all()
    assert (param - 1).abs().max() < 0.2 * max(1.0, size)  # a step is as long as the noise, and that as the gradient


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_weight_decay_is_not_lost_in_bfloat16(path):
    """1 - η λ rounds to 1 in bfloat16; a step that only just moves a parameter shows whether decay had its part."""
    ends = []
    for weight_decay in (0.0, 1.0):
        param = Parameter(torch.full((8,), 4.0, dtype=torch.bfloat16))
        optimizer = ThermoLion([param], lr=2e-3, weight_decay=weight_decay, temp_decay=1e-3, **path)
        param.grad = torch.ones_like(param)
        optimizer.step()
        ends.append(param.detach().float())
    assert (ends[0] == 4.0).all()  # a step of 0.004 is less than half of the last place, 1/64
    assert (ends[1] < 4.0).all()


def test_stochastic_rounding_is_without_bias():
    theta = torch.full((400_000,), 1.0 + 0.3 / 128)
    bits = torch.randint(0, 1 << 16, theta.shape, dtype=torch.int32, generator=torch.Generator().manual_seed(2))
    result = rounded(theta, torch.bfloat16, bits).double()
    assert set(result.unique().tolist()) == {1.0, 1.0 + 1 / 128}
    share = (result > 1).double().mean().item()
    assert share == pytest.approx(0.3, abs=5 * math.sqrt(0.3 * 0.7 / len(theta)))


@pytest.mark.parametrize("value", [1.0, -2.5, 0.0, math.inf, -math.inf])
def test_stochastic_rounding_keeps_what_is_exact(value):
    theta = torch.full((64,), value)
    bits = torch.full((64,), 0xFFFF, dtype=torch.int32)
    assert (rounded(theta, torch.bfloat16, bits).float() == value).all()
    assert rounded(torch.full((1,), math.nan), torch.bfloat16, bits[:1]).isnan().all()


def test_float32_state_keeps_what_bfloat16_would_lose():
    params = [Parameter(torch.ones(4, dtype=torch.bfloat16)) for _ in range(2)]
    for param, state_dtype in zip(params, (None, torch.float32), strict=True):
        optimizer = ThermoLion([param], state_dtype=state_dtype, betas=(0.999, 0.999), temp_decay=1e-3)
        for _ in range(500):
            param.grad = torch.ones_like(param)
            optimizer.step()
        m = optimizer.state[param]["m"]
        assert m.dtype == (state_dtype or torch.bfloat16)
        near = m.double().mean().item() == pytest.approx(1 - 0.999**500, rel=1e-4)
        assert near == (state_dtype is torch.float32)
