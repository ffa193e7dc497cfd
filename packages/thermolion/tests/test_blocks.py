"""The default path on the CPU beside the reference: the same step up to rounding, however the tensors are cut."""

import math

import pytest
import torch
from thermolion import ThermoLion
from thermolion._equations import sum_of_squares, sums_of_squares
from thermolion._paths import blocks
from thermolion._paths.blocks import BLOCK, _even
from torch.nn import Parameter

SIZES = [1, 5, 1024, 1025, 2049, 50_000, BLOCK, 2 * BLOCK + 9, *[99] * 6]
SETTINGS = [
    {},
    {"temp_decay": 1e-3},
    {"maximize": True, "weight_decay": 0.3},
    {"betas": (0.0, 0.0), "eps": 1e-3},
    {"lr": torch.tensor(0.02), "temp_decay": 1.0},
]


def run(sizes=SIZES, scale=1.0, steps=4, **settings):
    draw = torch.Generator().manual_seed(0)
    params = [Parameter(torch.randn(size, generator=draw)) for size in sizes]
    optimizer = ThermoLion(params, **{"lr": 1e-2, "seed": 3, **settings})
    for _ in range(steps):
        for param in params:
            param.grad = torch.randn(param.shape, generator=draw) * scale
        optimizer.step()
    return params, [optimizer.state[param] for param in params]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("scale", [1.0, 1e-12])
def test_it_steps_as_the_reference_does(settings, scale):
    params, states = run(scale=scale, **settings)
    expected, kept = run(scale=scale, foreach=False, fused=False, **settings)
    torch.testing.assert_close(params, expected, rtol=2e-6, atol=2e-6)
    for name in ("m", "v", "v_mean"):
        for got, wanted in zip(states, kept, strict=True):
            torch.testing.assert_close(got[name], wanted[name], rtol=2e-6, atol=1e-7 * scale)


def test_a_gradient_of_zero_after_others_agrees_with_nothing():
    results = []
    for path in ({}, {"foreach": False, "fused": False}):
        param = Parameter(torch.ones(5000))
        optimizer = ThermoLion([param], lr=0.1, temp_decay=1e-3, **path)
        for g in (1.0, 0.0):
            param.grad = torch.full((5000,), g)
            optimizer.step()
        results.append(param)
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("maximize", [False, True])
def test_a_tensor_alone_steps_to_the_bit_as_in_company(maximize):
    together = run(steps=1, maximize=maximize)[0]
    draw = torch.Generator().manual_seed(0)
    values = [torch.randn(size, generator=draw) for size in SIZES]
    for place in (4, 6, 7):
        params = [Parameter(value.clone()) for value in values]
        optimizer = ThermoLion(params, lr=1e-2, seed=3, maximize=maximize)
        again = torch.Generator().manual_seed(0)
        for value in values:
            torch.randn(value.shape, generator=again)
        grads = [torch.randn(value.shape, generator=again) for value in values]
        params[place].grad = grads[place]
        optimizer.step()
        assert torch.equal(params[place], together[place])


@pytest.mark.parametrize("temp_decay", [1e-3, 1.0], ids=["cold", "warm"])
@pytest.mark.parametrize("block", [2048, 6144, 1 << 16])
def test_the_length_of_rows_changes_no_bit(monkeypatch, block, temp_decay):
    sizes = [1025, 2048, 2049, 50_000, 70_001]
    params, states = run(sizes, temp_decay=temp_decay)
    monkeypatch.setattr(blocks, "BLOCK", block)
    again, kept = run(sizes, temp_decay=temp_decay)
    assert all(map(torch.equal, params, again))
    assert all(
        torch.equal(a[name], b[name]) for a, b in zip(states, kept, strict=True) for name in ("m", "v", "v_mean")
    )


@pytest.mark.parametrize("temp_decay", [1e-3, 1.0], ids=["cold", "warm"])
def test_the_number_of_threads_changes_no_bit(temp_decay):
    before, ends = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        ends.append(run([1025, 50_000, 300_001], temp_decay=temp_decay)[0])
    torch.set_num_threads(before)
    assert all(map(torch.equal, *ends))


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf, 1e25])
def test_sums_of_squares_leave_out_what_is_not_finite(bad):
    grads = [torch.randn(size) for size in (3, 5000, 40_000)]
    for g in grads[1:]:
        g[7] = bad
    expected = torch.stack([sum_of_squares(g, 1 << 18) for g in grads])
    torch.testing.assert_close(sums_of_squares(grads, 4096), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("numel", [1025, 2048, BLOCK, BLOCK + 1, 3 * BLOCK - 5, 10 * BLOCK + 77])
def test_blocks_are_whole_groups_and_about_equal(numel):
    length = _even(numel)
    assert length % 2048 == 0
    assert length <= BLOCK
    assert math.ceil(numel / length) == math.ceil(numel / BLOCK)


def test_a_step_needs_no_more_memory_than_blocks():
    param = Parameter(torch.ones(1_000_000))
    param.grad = torch.ones(1_000_000)
    optimizer = ThermoLion([param], seed=0)
    optimizer.step()
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        optimizer.step()
    taken = sum(max(0, event.self_cpu_memory_usage) for event in profile.key_averages())
    assert taken < 12 * 4 * BLOCK
