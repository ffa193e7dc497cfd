"""`noise="global"` repeats 0.1.0 while warm: held against 0.1.0's method, written from its description in float64."""

import math

import pytest
import torch
from thermolion import ThermoLion
from torch.nn import Parameter

PATHS = [{}, {"foreach": False, "fused": False}, {"foreach": True}]
SETTINGS = {
    "defaults": {},
    "always warm": {"temp_decay": 1.0, "lr": 0.02},
    "turns cold on the way": {"temp_decay": 0.5, "lr": 0.05, "weight_decay": 0.3},
    "odd betas": {"betas": (0.0, 0.5), "temp_decay": 0.95, "eps": 1e-3},
    "no memory": {"betas": (0.37, 0.0), "temp_decay": 0.9},
    "borderline": {"temp_decay": 0.1, "lr": 0.1},
}
DEFAULTS = {"lr": 1e-3, "betas": (0.9, 0.99), "temp_decay": 0.99, "weight_decay": 0.01, "eps": 1e-8}


class Release010:
    """0.1.0, one parameter after the other, noise from torch's global stream."""

    def __init__(self, groups, **settings):
        defaults = DEFAULTS | settings
        self.groups = [([[theta, None] for theta in group["params"]], defaults | group) for group in groups]

    def step(self, gradients):
        gradients = iter(gradients)
        for slots, group in self.groups:
            for slot in slots:
                g = next(gradients)
                if g is not None:
                    slot[0], slot[1] = self.one(slot[0], g, slot[1], **group)

    @staticmethod
    def one(theta, g, state, *, lr, betas, temp_decay, weight_decay, eps, **_):
        m, v, temperature = state or (torch.zeros_like(g), torch.zeros_like(g), 1.0)
        temperature = temp_decay * temperature
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        a = m / (v.sqrt() + eps)
        q = torch.tanh(a.abs())
        agreement = (torch.sign(m) * torch.sign(g)).clamp(0, 1)
        u = (1 - q) * torch.sign(m) * (1 + 0.5 * agreement) + 2 * q * a
        if temperature > 0.01:
            sigma = math.sqrt(max(temperature * v.mean().item(), 0.0) + 1e-10)
            u = u + (1 - q) * sigma * torch.randn_like(theta)
        return (1 - lr * weight_decay) * theta - lr * u, (m, v, temperature)


def problem(dtype, missing=True):
    generator = torch.Generator().manual_seed(5)
    shapes = [(3,), (4, 5), (), (40, 60), (2, 1, 3)]

    def draw(shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    def absent(t, i):
        return missing and (t + 2 * i) % 5 == 0

    starts = [draw(shape) for shape in shapes]
    steps = [[None if absent(t, i) else 0.3 * draw(shape) for i, shape in enumerate(shapes)] for t in range(25)]
    return starts, steps


def distance(path, settings, dtype, groups_of):
    starts, steps = problem(dtype)
    params = [Parameter(start.clone()) for start in starts]
    optimizer = ThermoLion(groups_of(params), noise="global", **settings, **path)
    oracle = Release010(groups_of([start.clone() for start in starts]), **settings)
    furthest = 0.0
    for t, gradients in enumerate(steps):
        for param, g in zip(params, gradients, strict=True):
            param.grad = g
        torch.manual_seed(100 + t)
        optimizer.step()
        mine = torch.get_rng_state()
        torch.manual_seed(100 + t)
        oracle.step(gradients)
        assert torch.equal(mine, torch.get_rng_state()), "as much was drawn"
        thetas = [slot[0] for slots, _ in oracle.groups for slot in slots]
        furthest = max(furthest, *((p - q).abs().max().item() for p, q in zip(params, thetas, strict=True)))
    return furthest


def one_group(params):
    return [{"params": params}]


def three_groups(params):
    return [
        {"params": params[:2]},
        {"params": params[2:3], "lr": 0.03, "betas": (0.5, 0.6), "temp_decay": 0.3, "eps": 1e-4},
        {"params": params[3:], "weight_decay": 0.4, "temp_decay": 0.999},
    ]


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("groups", [one_group, three_groups], ids=["one group", "overrides"])
def test_warm_runs_repeat_0_1_0_in_float64(path, settings, groups):
    assert distance(path, settings, torch.float64, groups) < 1e-9


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_warm_runs_repeat_0_1_0_in_float32(path, settings):
    assert distance(path, settings, torch.float32, three_groups) < 2e-4


def test_another_stream_makes_another_run():
    starts, steps = problem(torch.float64, missing=False)
    ends = []
    for seed in (1, 2, 1):
        params = [Parameter(start.clone()) for start in starts]
        optimizer = ThermoLion(params, noise="global", lr=0.1)
        torch.manual_seed(seed)
        for gradients in steps:
            for param, g in zip(params, gradients, strict=True):
                param.grad = g
            optimizer.step()
        ends.append(torch.cat([param.detach().reshape(-1) for param in params]))
    assert torch.equal(ends[0], ends[2])
    assert (ends[0] - ends[1]).abs().max() > 1e-3
