"""Settings under which RangerLite is torch's RAdam, or leaves everything where it is, to the bit."""

import pytest
import torch
from rangerlite import RangerLite

SHAPES = [(3,), (4, 5), (), (0,), (40, 30), (70001,)]
DTYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.complex64]
PATHS = [{}, {"foreach": False}, {"foreach": True}]


def parameters(dtype=torch.float32, shapes=SHAPES):
    draw = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(s, generator=draw, dtype=torch.float32).to(dtype)) for s in shapes]


def train(optimizer, params, steps=13, seed=1):
    draw = torch.Generator().manual_seed(seed)
    for step in range(steps):
        for place, p in enumerate(params):
            noise = torch.randn(p.shape, generator=draw)
            p.grad = None if (step + place) % 5 == 4 else noise.to(p.dtype)
        optimizer.step()
    return params


def radam(params, **settings):
    return torch.optim.RAdam(params, betas=(0.95, 0.999), eps=1e-5, foreach=False, **settings)


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.1}, {"maximize": True}, {"lr": 0.5}], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "off", [{"lookahead_steps": 14}, {"lookahead_alpha": 1.0}, {"lookahead_steps": 1, "lookahead_alpha": 1.0}], ids=str
)
def test_without_lookahead_it_is_torchs_radam(dtype, settings, path, off):
    ours, theirs = parameters(dtype), parameters(dtype)
    train(RangerLite(ours, **settings, **off, **path), ours)
    train(radam(theirs, decoupled_weight_decay=True, **settings), theirs)
    assert all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_coupled_weight_decay_is_torchs_too(path):
    ours, theirs = parameters(), parameters()
    train(RangerLite(ours, weight_decay=0.1, decoupled_weight_decay=False, lookahead_steps=99, **path), ours)
    train(radam(theirs, weight_decay=0.1, decoupled_weight_decay=False), theirs)
    assert all(map(torch.equal, ours, theirs))


def test_the_defaults_are_torchs_defaults_for_the_choice_of_a_path():
    ours, theirs = parameters(), parameters()
    train(RangerLite(ours, lookahead_steps=99), ours)
    train(torch.optim.RAdam(theirs, betas=(0.95, 0.999), eps=1e-5, decoupled_weight_decay=True), theirs)
    assert all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize("path", [*PATHS, {"capturable": True}], ids=str)
def test_alpha_0_returns_to_the_start_at_every_kth_step(path):
    params, start = parameters(), parameters()
    optimizer = RangerLite(params, lr=0.1, lookahead_steps=3, lookahead_alpha=0.0, **path)
    for step in range(1, 10):
        for p in params:
            p.grad = torch.ones_like(p)
        optimizer.step()
        back = [torch.equal(p, s) for p, s in zip(params, start, strict=True) if p.numel()]
        assert all(back) if step % 3 == 0 else not any(back)


@pytest.mark.parametrize("momentum", ["keep", "reset", "pullback"])
@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.1}, {"maximize": True}, {"lookahead_steps": 1}], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_lists_and_pieces_equal_the_reference(dtype, settings, momentum):
    settings = {"lookahead_steps": 3, "lookahead_momentum": momentum} | settings
    runs = []
    for path in PATHS:
        params = parameters(dtype)
        optimizer = RangerLite(params, **settings, **path)
        train(optimizer, params)
        runs.append([*params, *(x for state in optimizer.state.values() for x in state.values())])
    assert all(map(torch.equal, runs[0], runs[1]))
    assert all(map(torch.equal, runs[1], runs[2]))


def test_maximize_equals_negated_gradients():
    up, down = parameters(), parameters()
    for params, sign, maximize in ((up, 1, True), (down, -1, False)):
        optimizer = RangerLite(params, maximize=maximize, lookahead_steps=2)
        for step in range(7):
            for p in params:
                p.grad = torch.full_like(p, sign * (step - 2.5))
            optimizer.step()
    assert all(map(torch.equal, up, down))


def test_a_learning_rate_of_0_changes_nothing_but_state():
    params, start = parameters(), parameters()
    train(RangerLite(params, lr=0.0, lookahead_steps=2), params)
    assert all(map(torch.equal, params, start))


@pytest.mark.parametrize("shape", [(), (1,)], ids=str)
@pytest.mark.parametrize("path", PATHS, ids=str)
def test_a_tensor_learning_rate_is_the_number_in_it(path, shape):
    ours, theirs = (parameters(torch.float64, [(3,), (4, 5)]) for _ in range(2))
    rate = torch.full(shape, 0.25, dtype=torch.float64)
    train(RangerLite(ours, lr=rate, weight_decay=0.5, lookahead_steps=3, **path), ours)
    train(RangerLite(theirs, lr=0.25, weight_decay=0.5, lookahead_steps=3), theirs)
    assert all(torch.allclose(a, b, rtol=1e-13, atol=1e-15) for a, b in zip(ours, theirs, strict=True))


def test_complex_equals_its_real_view():
    z = torch.nn.Parameter(torch.randn(5, 3, dtype=torch.complex64))
    x = torch.nn.Parameter(torch.view_as_real(z.detach()).clone())
    by_z, by_x = RangerLite([z], lookahead_steps=2), RangerLite([x], lookahead_steps=2)
    for step in range(7):
        z.grad = torch.randn(5, 3, dtype=torch.complex64, generator=torch.Generator().manual_seed(step))
        x.grad = torch.view_as_real(z.grad)
        by_z.step()
        by_x.step()
    assert torch.equal(torch.view_as_real(z.detach()), x.detach())


def test_memory_layout_does_not_matter():
    base = torch.randn(2, 3, 40, 50)
    params = [
        torch.nn.Parameter(base.clone()),
        torch.nn.Parameter(base.clone(memory_format=torch.channels_last)),
        torch.nn.Parameter(torch.stack([base, base], -1)[..., 0]),
    ]
    optimizers = [RangerLite([p], lookahead_steps=2) for p in params]
    for step in range(5):
        g = torch.randn(base.shape, generator=torch.Generator().manual_seed(step))
        for p, optimizer in zip(params, optimizers, strict=True):
            p.grad = g.clone()
            optimizer.step()
    assert torch.equal(params[0], params[1])
    assert torch.equal(params[0], params[2])
    assert params[1].is_contiguous(memory_format=torch.channels_last)
