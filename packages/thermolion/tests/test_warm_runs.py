"""Warm runs against an oracle in Python floats, written from the published equations: either noise, every path."""

import math
import shutil
import struct
from functools import partial
from importlib.util import find_spec

import pytest
import torch
from thermolion import ThermoLion
from thermolion._noise import draw, keys_of
from torch.nn import Parameter

PATHS = [{}, {"foreach": False, "fused": False}, {"foreach": True}]
COMPILER = shutil.which("c++") and (shutil.which("ninja") or find_spec("ninja")) and find_spec("setuptools")
FUSED = pytest.param(
    {"fused": True},
    marks=pytest.mark.skipif(not COMPILER, reason="needs a C++ compiler, ninja, setuptools"),
)
SETTINGS = {
    "defaults": {},
    "always warm": {"temp_decay": 1.0, "lr": 0.02},
    "turns cold on the way": {"temp_decay": 0.5, "lr": 0.05, "weight_decay": 0.3},
    "odd betas": {"betas": (0.0, 0.5), "temp_decay": 0.95, "eps": 1e-3},
    "no memory": {"betas": (0.37, 0.0), "temp_decay": 0.9},
    "borderline": {"temp_decay": 0.1, "lr": 0.1},
}
DEFAULTS = {"lr": 1e-3, "betas": (0.9, 0.99), "temp_decay": 0.99, "weight_decay": 0.01, "eps": 1e-8}


WORD, LONG = 1 << 32, 1 << 64


def finalizer(word):
    """Return splitmix64's finalizer (Steele, Lea & Flood 2014)."""
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % LONG
    word = (word ^ word >> 27) * 0x94D049BB133111EB % LONG
    return word ^ word >> 31


def folded(word, shift):
    """Return ``word ^ word >> shift`` where the shift keeps the sign of a 32-bit word."""
    sign = word >> 31
    return word ^ (word >> shift | (sign * (WORD - 1) << 32 - shift) % WORD)


def single(value):
    """Return a number rounded to single precision."""
    return struct.unpack("f", struct.pack("f", value))[0]


def counter_noise(seed, step, index, numel):
    """Return ξ of every element, (10) to (14) of the documentation, in Python integers and floats."""
    gamma = 0x9E3779B97F4A7C15
    h = finalizer((finalizer(finalizer((seed + gamma) % LONG) ^ step) + gamma * (index + 1)) % LONG)
    low = finalizer((h + gamma) % LONG)
    k0, k1, k2, k3 = h % WORD, h >> 32, low % WORD, low >> 32
    xi = []
    for element in range(numel):
        group, lane = divmod(element, 2048)
        z = folded((2654435769 * (1024 * group + lane % 1024) + k0) % WORD, 16)
        z = folded((569420461 * z + k1) % WORD, 15)
        x, y = 1935289751 * z % WORD, folded((3545902487 * z + k2) % WORD, 16)
        y = (2221713035 * y + k3) % WORD
        x, y = (word - WORD * (word >> 31) for word in (x, y))
        radius = math.copysign(math.sqrt(-2 * math.log(single(abs(x) / 2**31 + 2**-32))), x)
        angle = y * math.pi / WORD
        xi.append(radius * (math.cos(angle) if lane < 1024 else math.sin(angle)))
    return xi


class Oracle:
    """The method on lists of Python floats, one parameter after the other."""

    def __init__(self, groups, **settings):
        defaults = DEFAULTS | settings
        self.groups = [([[theta, None] for theta in group["params"]], defaults | group) for group in groups]

    def step(self, gradients, draw):
        """Step with ``draw(step, index, numel)`` as noise; a parameter without a gradient is left out."""
        slots = [(slot, group) for members, group in self.groups for slot in members]
        for index, ((slot, group), g) in enumerate(zip(slots, gradients, strict=True)):
            if g is not None:
                slot[0], slot[1] = self.one(slot[0], g, slot[1], index, draw, **group)

    @staticmethod
    def one(theta, g, state, index, draw, *, lr, betas, temp_decay, weight_decay, eps, **_):
        step, m, v, temperature = state or (0, [0.0] * len(g), [0.0] * len(g), 1.0)
        step, temperature = step + 1, temp_decay * temperature
        m = [betas[0] * m_i + (1 - betas[0]) * g_i for m_i, g_i in zip(m, g, strict=True)]
        v = [betas[1] * v_i + (1 - betas[1]) * g_i**2 for v_i, g_i in zip(v, g, strict=True)]
        sigma = math.sqrt(max(temperature * math.fsum(v) / len(v), 0.0) + 1e-10)
        xi = draw(step, index, len(g)) if temperature > 0.01 else [0.0] * len(g)
        moved = []
        for theta_i, g_i, m_i, v_i, xi_i in zip(theta, g, m, v, xi, strict=True):
            a = m_i / (math.sqrt(v_i) + eps)
            q = math.tanh(abs(a))
            sign_m, sign_g = ((x > 0) - (x < 0) for x in (m_i, g_i))
            s = sign_m * (1 + 0.5 * min(max(sign_m * sign_g, 0), 1))
            u = (1 - q) * s + 2 * q * a + (1 - q) * sigma * xi_i
            moved.append((1 - lr * weight_decay) * theta_i - lr * u)
        return moved, (step, m, v, temperature)


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


def flat(tensors):
    return [None if tensor is None else tensor.double().reshape(-1).tolist() for tensor in tensors]


def from_the_global_stream(shapes, dtype):
    def draw(step, index, numel):
        return torch.randn(shapes[index], dtype=dtype).double().reshape(-1).tolist()

    return draw


def distance(path, settings, dtype, groups_of, noise="global", seed=11):
    starts, steps = problem(dtype)
    params = [Parameter(start.clone()) for start in starts]
    optimizer = ThermoLion(groups_of(params), noise=noise, seed=seed, **settings, **path)
    oracle = Oracle(groups_of(flat(starts)), **settings)
    if noise == "global":
        draw = from_the_global_stream([start.shape for start in starts], dtype)
    else:
        draw = partial(counter_noise, seed)
    furthest = 0.0
    for t, gradients in enumerate(steps):
        for param, g in zip(params, gradients, strict=True):
            param.grad = g
        torch.manual_seed(100 + t)
        optimizer.step()
        mine = torch.get_rng_state()
        torch.manual_seed(100 + t)
        oracle.step(flat(gradients), draw)
        assert torch.equal(mine, torch.get_rng_state()), "as much was drawn"
        thetas = [torch.tensor(slot[0], dtype=torch.float64) for slots, _ in oracle.groups for slot in slots]
        apart = [(p.double().reshape(-1) - q).abs().max().item() for p, q in zip(params, thetas, strict=True)]
        furthest = max(furthest, *apart)
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


@pytest.mark.parametrize("path", [*PATHS, FUSED], ids=str)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("groups", [one_group, three_groups], ids=["one group", "overrides"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_warm_runs_follow_the_equations_under_the_default_noise(path, settings, groups, dtype):
    near = 1e-5 if dtype == torch.float64 else 2e-4  # ξ itself has single precision
    assert distance(path, settings, dtype, groups, noise="counter") < near


def test_the_oracle_s_noise_is_the_package_s():
    for seed, step, index in [(0, 1, 0), ((1 << 64) - 1, 7, 3), (123456789, 1000, 12)]:
        keys = keys_of(seed, torch.tensor(step), torch.tensor([index]))[0].unbind()
        expected = torch.tensor(counter_noise(seed, step, index, 5000), dtype=torch.float64)
        assert (draw(0, 5000, keys).double() - expected).abs().max() < 2e-6


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


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_global_noise_of_a_big_tensor_is_drawn_at_once(path):
    count = (1 << 16) + 5
    param = Parameter(torch.zeros(count, dtype=torch.float64))
    optimizer = ThermoLion([param], noise="global", weight_decay=0.0, lr=1.0, **path)
    param.grad = torch.zeros_like(param)
    torch.manual_seed(3)
    optimizer.step()
    torch.manual_seed(3)
    expected = -1e-5 * torch.randn(count, dtype=torch.float64)  # m = v = 0, so that u = σ ξ with σ² = 1e-10
    torch.testing.assert_close(param.detach(), expected, rtol=1e-6, atol=0)
