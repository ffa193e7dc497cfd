"""Batches: kept from step to step, and never more than the step needs."""

import gc
import weakref

import pytest
import torch
from thermolion import ThermoLion
from torch.nn import Parameter

PATHS = [{}, {"foreach": False, "fused": False}, {"foreach": True}, {"capturable": True}]


def grown(count=3, **settings):
    generator = torch.Generator().manual_seed(2)
    params = [Parameter(torch.randn(40, 30, generator=generator)) for _ in range(count)]
    return params, ThermoLion(params, seed=4, lr=0.02, **settings)


def give_gradients(params, t, skipped=()):
    generator = torch.Generator().manual_seed(100 + t)
    for i, param in enumerate(params):
        g = torch.randn(param.shape, generator=generator)
        param.grad = None if i in skipped else g.to(param.dtype)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_a_step_keeps_no_gradient_alive(path):
    params, optimizer = grown(**path)
    give_gradients(params, 0)
    seen = [weakref.ref(param.grad) for param in params]
    optimizer.step()
    optimizer.zero_grad()
    gc.collect()
    assert all(reference() is None for reference in seen)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_what_changes_between_steps_is_seen(path):
    """Moved memory, replaced moments, another set of gradients: as in an optimizer that has kept nothing."""
    runs = []
    for forgets in (False, True):
        params, optimizer = grown(**path)
        for t in range(8):
            give_gradients(params, t, skipped=[t % 4])
            if t == 3:
                params[0].data = params[0].data.t().contiguous().t()
            if t == 4:
                optimizer.state[params[1]]["m"] = torch.full_like(params[1], 0.1)
            if t == 5:
                optimizer.state[params[2]]["v_mean"] = torch.tensor(4.0)
            if t == 6:
                optimizer.param_groups[0]["lr"] = 0.1
            if t == 7:
                optimizer.param_groups[0] = {**optimizer.param_groups[0], "lr": 0.3}
            if forgets:
                optimizer._plans.clear()
            optimizer.step()
        runs.append(params)
    assert all(map(torch.equal, *runs))


def test_parameters_cast_after_a_step_are_sorted_anew():
    params, optimizer = grown()
    give_gradients(params, 0)
    optimizer.step()
    params[0].data = params[0].data.double()
    params[0].grad = None
    give_gradients(params, 1)
    optimizer.step()
    assert params[0].dtype == torch.float64
    assert params[0].isfinite().all()


def test_a_group_added_on_the_way_draws_its_own_noise():
    params, optimizer = grown(temp_decay=1.0)
    give_gradients(params, 0)
    optimizer.step()
    more = [Parameter(param.detach().clone()) for param in params]
    optimizer.add_param_group({"params": more})
    give_gradients(params + more, 1)
    optimizer.step()
    assert not any(torch.equal(a, b) for a, b in zip(params, more, strict=True))
