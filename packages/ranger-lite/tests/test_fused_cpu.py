"""The C++ kernel against the reference path, and its own promises."""

import subprocess
import sys

import pytest
import torch
from rangerlite import RangerLite
from rangerlite._paths.build import load_kernel

SHAPES = [(3,), (4, 5), (), (0,), (300, 401), (50001,)]
SETTINGS = [
    {},
    {"weight_decay": 0.1},
    {"weight_decay": 0.1, "decoupled_weight_decay": False, "maximize": True},
    {"lookahead_momentum": "reset", "lookahead_alpha": 0.0},
    {"lookahead_momentum": "pullback", "betas": (0.3, 0.5)},
    {"lr": torch.tensor(0.01), "lookahead_alpha": 1.0},
    {"betas": (0.0, 0.0), "lookahead_steps": 1},
]


@pytest.fixture(scope="module", autouse=True)
def kernel():
    try:
        load_kernel()
    except RuntimeError as error:
        pytest.skip(str(error))


def parameters(dtype=torch.float32, shapes=SHAPES):
    draw = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(s, generator=draw).to(dtype)) for s in shapes]


def train(optimizer, params, steps=14):
    draw = torch.Generator().manual_seed(1)
    for step in range(steps):
        for place, p in enumerate(params):
            noise = torch.randn(p.shape, generator=draw)
            p.grad = None if (step + place) % 5 == 4 else noise.to(p.dtype)
        optimizer.step()


def states(optimizer):
    return [x for state in optimizer.state.values() for x in state.values()]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64])
def test_it_computes_what_the_reference_computes(dtype, settings):
    settings = {"lookahead_steps": 3} | settings
    fused, plain = parameters(dtype), parameters(dtype)
    by_kernel = RangerLite(fused, fused=True, **settings)
    by_loop = RangerLite(plain, foreach=False, **settings)
    train(by_kernel, fused)
    train(by_loop, plain)
    tolerance = {torch.bfloat16: (0.05, 0.02), torch.float16: (0.02, 5e-3)}.get(dtype)
    close = dict(zip(("rtol", "atol"), tolerance, strict=True)) if tolerance else {}
    torch.testing.assert_close(fused, plain, **close)
    torch.testing.assert_close(states(by_kernel), states(by_loop), **close)


def test_the_kernel_took_every_tensor():
    params = parameters()
    optimizer = RangerLite(params, fused=True)
    train(optimizer, params, 1)
    optimizer._stepper.counts = None  # what the other paths would need
    train(optimizer, params, 3)


def test_odd_layouts_are_stepped_too():
    base = torch.randn(2, 3, 40, 50)
    plain = torch.nn.Parameter(base.clone())
    channels_last = torch.nn.Parameter(base.clone(memory_format=torch.channels_last))
    strided = torch.nn.Parameter(torch.stack([base, base], -1)[..., 0])
    optimizers = [RangerLite([p], fused=True, lookahead_steps=2) for p in (plain, channels_last, strided)]
    for step in range(5):
        g = torch.randn(base.shape, generator=torch.Generator().manual_seed(step))
        for p, optimizer in zip((plain, channels_last, strided), optimizers, strict=True):
            p.grad = g.clone()
            optimizer.step()
    torch.testing.assert_close([channels_last, strided], [plain, plain])
    assert all(optimizer.state[p]["step"].item() == 5 for optimizer in optimizers for p in optimizer.state)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_where_it_is(bad):
    p = torch.nn.Parameter(torch.ones(1000))
    optimizer = RangerLite([p], fused=True, lookahead_steps=2)
    for _ in range(4):
        p.grad = torch.ones(1000)
        p.grad[17] = bad
        optimizer.step()
    assert not p[17].isfinite()
    assert p[torch.arange(1000) != 17].isfinite().all()


def test_writing_is_announced_to_autograd():
    p = torch.nn.Parameter(torch.ones(5))
    optimizer = RangerLite([p], fused=True)
    loss = (p * p).sum()
    p.grad = torch.ones(5)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_switching_paths_mid_run_goes_on_counting():
    p = torch.nn.Parameter(torch.ones(5))
    optimizer = RangerLite([p], lookahead_steps=4)
    for step in range(9):
        p.grad = torch.ones(5)
        optimizer.param_groups[0]["fused"] = step % 3 == 0
        optimizer.step()
    assert optimizer.state[p]["step"].item() == 9
    other = torch.nn.Parameter(torch.ones(5))
    reference = RangerLite([other], lookahead_steps=4)
    for _ in range(9):
        other.grad = torch.ones(5)
        reference.step()
    torch.testing.assert_close(p, other)


def test_an_overflow_found_by_a_grad_scaler_changes_nothing():
    p = torch.nn.Parameter(torch.ones(5))
    optimizer = RangerLite([p], fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    scaler.scale((p * p).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    before = [p.detach().clone(), *(x.clone() for x in states(optimizer))]
    p.grad = torch.full((5,), float("inf"))
    scaler.step(optimizer)
    scaler.update()
    assert all(map(torch.equal, [p, *states(optimizer)], before))
    assert scaler.get_scale() == 32.0


def test_a_grad_scaler_leaves_unscaling_to_the_kernel():
    scaled, plain = torch.nn.Parameter(torch.ones(5)), torch.nn.Parameter(torch.ones(5))
    by_kernel, by_loop = RangerLite([scaled], fused=True), RangerLite([plain])
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for _ in range(8):
        by_kernel.zero_grad()
        by_loop.zero_grad()
        scaler.scale((scaled**2).sum()).backward()
        (plain**2).sum().backward()
        scaler.step(by_kernel)
        scaler.update()
        by_loop.step()
    torch.testing.assert_close(scaled, plain)


WITHOUT_COMPILER = """
import torch
from rangerlite import RangerLite
p = torch.nn.Parameter(torch.ones(3))
p.grad = torch.ones(3)
try:
    RangerLite([p], fused=True).step()
except RuntimeError as error:
    assert "C++ compiler" in str(error) and "fused=None" in str(error), error
    assert torch.equal(p, torch.ones(3))
else:
    raise SystemExit("it stepped")
optimizer = RangerLite([p])
optimizer.step()
assert not torch.equal(p, torch.ones(3))
"""


def test_without_a_compiler_fused_is_a_clear_error_and_the_default_works(tmp_path):
    environment = {"PATH": str(tmp_path), "CXX": "no-such-compiler", "TORCH_EXTENSIONS_DIR": str(tmp_path / "empty")}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_COMPILER], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
