"""The noise is standard normal, independent over elements, parameters, steps and seeds, the same however it is cut."""

import math

import pytest
import torch
from thermolion import ThermoLion
from thermolion._noise import draw, draw_at, keys_of
from torch.nn import Parameter

COUNT = 1 << 20


def noise(seed=7, step=3, index=2, start=0, count=COUNT):
    return draw(start, count, keys_of(seed, torch.tensor(step), torch.tensor([index]))[0].unbind())


@pytest.mark.parametrize("step", [1, 2, 1000])
@pytest.mark.parametrize("seed", [0, 1, (1 << 64) - 1])
def test_the_moments_are_those_of_a_standard_normal(seed, step):
    xi = noise(seed, step).double()
    bound = 5 / math.sqrt(COUNT)  # five standard errors
    assert abs(xi.mean()) < bound
    assert abs((xi**2).mean() - 1) < bound * math.sqrt(2)
    assert abs((xi**3).mean()) < bound * math.sqrt(15)
    assert abs((xi**4).mean() - 3) < bound * math.sqrt(96)


def test_the_distribution_function_is_the_normal_one():
    xi = noise().double().sort().values
    normal = torch.special.ndtr(xi)
    empirical = torch.arange(1, COUNT + 1, dtype=torch.float64) / COUNT
    assert (normal - empirical).abs().max() < 2.2 / math.sqrt(COUNT)  # Kolmogorov: exceeded once in 8,000
    assert xi[-1] > 4.3


@pytest.mark.parametrize(
    "other",
    [{"step": 4}, {"index": 3}, {"seed": 8}, {"step": 2, "index": 3}, {"seed": 7 + (1 << 32)}],
    ids=str,
)
def test_streams_are_independent(other):
    a, b = noise().double(), noise(**other).double()
    bound = 5 / math.sqrt(COUNT)
    assert abs((a * b).mean()) < bound
    assert abs(((a**2 - 1) * (b**2 - 1)).mean()) < 2 * bound


@pytest.mark.parametrize("lag", [1, 2, 31, 1023, 1024, 1025, 2048, 65536])
def test_elements_are_independent(lag):
    xi = noise().double()
    a, b = xi[:-lag], xi[lag:]
    bound = 5 / math.sqrt(len(a))
    assert abs((a * b).mean()) < bound
    assert abs(((a**2 - 1) * (b**2 - 1)).mean()) < 2 * bound


def test_every_sign_and_quadrant_is_as_likely():
    xi = noise().view(-1, 2, 1024)
    first, partner = xi[:, 0] > 0, xi[:, 1] > 0
    for a in (first, ~first):
        for b in (partner, ~partner):
            share = (a & b).double().mean()
            assert abs(share - 0.25) < 5 * math.sqrt(0.25 * 0.75 / (COUNT / 2))


@pytest.mark.parametrize("start", [0, 1, 1023, 1024, 2047, 2048, 70_001])
@pytest.mark.parametrize("count", [1, 5, 1024, 1025, 3000])
def test_a_block_draws_what_the_whole_does(start, count):
    keys = keys_of(1, torch.tensor(2), torch.tensor([3]))[0].unbind()
    whole = draw(0, 80_000, keys)[start : start + count]
    assert torch.equal(draw(start, count, keys), whole)
    assert torch.equal(draw_at(torch.arange(start, start + count), keys), whole)


def test_the_step_adds_noise_of_the_stated_deviation():
    """With β1 = 0, g = 0 after a first step: m = 0, so that u is σ ξ alone."""
    decay, beta2, lr = 0.9, 0.99, 0.5
    param = Parameter(torch.zeros(200_000))
    optimizer = ThermoLion([param], lr=lr, betas=(0.0, beta2), temp_decay=decay, weight_decay=0.0, seed=1)
    param.grad = torch.full_like(param, 2.0)
    optimizer.step()
    before = param.detach().clone()
    param.grad = torch.zeros_like(param)
    optimizer.step()
    moved = (param.detach() - before) / lr
    sigma = math.sqrt(decay**2 * beta2 * (1 - beta2) * 4 + 1e-10)
    assert moved.std().item() == pytest.approx(sigma, rel=0.01)
    assert abs(moved.mean().item()) < 5 * sigma / math.sqrt(200_000)
