"""What torch asks of its own optimizers beyond the test kit's checks: hooks, checkpoints of other releases, names."""

from collections import OrderedDict
from copy import deepcopy

import pytest
import torch
from thermolion import ThermoLion
from torch.optim import optimizer as torch_optimizer

PATHS = {
    "default": {},
    "lists": {"foreach": True},
    "reference": {"foreach": False, "fused": False},
}
every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)


def parameters(*shapes, dtype=torch.float32):
    draw = torch.Generator().manual_seed(1)
    return [torch.nn.Parameter(torch.randn(shape, generator=draw).to(dtype)) for shape in shapes or ((4, 3), (5,))]


def descend(optimizer, params, steps=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for param in params:
            param.grad = torch.randn(param.shape, generator=draw).to(param.dtype)
        optimizer.step()


def assert_same(checkpoint, expected):
    assert checkpoint["param_groups"] == expected["param_groups"]
    torch.testing.assert_close(checkpoint["state"], expected["state"], rtol=0, atol=0)


def made(params, **settings):
    return ThermoLion(params, **{"lr": 0.02, "seed": 3, **settings})


@every_path
def test_a_gradient_of_zero_leaves_parameters_alone_while_cold(path):
    params = parameters()
    before = deepcopy(params)
    optimizer = made(params, temp_decay=1e-3, weight_decay=0.0, **path)
    for _ in range(3):
        for param in params:
            param.grad = torch.zeros_like(param)
        optimizer.step()
    assert all(map(torch.equal, params, before))


@every_path
def test_a_step_without_any_gradient_changes_neither_parameters_nor_state(path):
    params = parameters()
    optimizer = made(params, **path)
    descend(optimizer, params)
    before, state = deepcopy(params), deepcopy(optimizer.state_dict())
    optimizer.zero_grad()
    assert all(param.grad is None for param in params)
    optimizer.step()
    assert all(map(torch.equal, params, before))
    assert_same(optimizer.state_dict(), state)


@every_path
def test_a_gradient_with_strides_of_its_own_is_read_by_its_elements(path):
    ends = []
    for strided in (False, True):
        params = parameters((4, 3), (6,))
        optimizer = made(params, **path)
        for step in range(3):
            params[0].grad = torch.full((4, 1), step - 0.5).expand(4, 3)
            params[1].grad = torch.arange(12.0)[::2] - step
            if not strided:
                for param in params:
                    param.grad = param.grad.contiguous()
            optimizer.step()
        ends.append(params)
    assert all(map(torch.equal, *ends))


@every_path
def test_dtypes_in_one_group_step_as_they_do_alone(path):
    dtypes = (torch.float32, torch.bfloat16, torch.float64, torch.float16)
    together = [parameters((40,), dtype=dtype)[0] for dtype in dtypes]
    optimizer = made(together, **path)
    descend(optimizer, together)
    for alone in range(len(dtypes)):
        params = [parameters((40,), dtype=dtype)[0] for dtype in dtypes]
        draw, optimizer = torch.Generator().manual_seed(0), made(params, **path)
        for _ in range(3):
            grads = [torch.randn(40, generator=draw).to(dtype) for dtype in dtypes]
            params[alone].grad = grads[alone]
            optimizer.step()
        assert params[alone].dtype == dtypes[alone]
        assert torch.equal(params[alone], together[alone])


def test_step_hooks_of_the_optimizer_and_of_all_optimizers_run_in_order():
    called = []

    def note(name):
        return lambda optimizer, *_: called.append((name, len(optimizer.state)))

    params = parameters()
    optimizer = made(params)
    handles = [
        torch_optimizer.register_optimizer_step_pre_hook(note("every, before")),
        torch_optimizer.register_optimizer_step_post_hook(note("every, after")),
        optimizer.register_step_pre_hook(note("before")),
        optimizer.register_step_post_hook(note("after")),
    ]
    try:
        descend(optimizer, params, steps=1)
    finally:
        for handle in handles:
            handle.remove()
    assert called == [("every, before", 0), ("before", 0), ("after", 2), ("every, after", 2)]
    descend(optimizer, params, steps=1)
    assert len(called) == 4


def test_a_pre_hook_can_replace_the_closure():
    params, losses = parameters(), iter([1.0, 2.0])
    optimizer = made(params)

    def closure():
        for param in params:
            param.grad = torch.ones_like(param)
        return next(losses)

    assert optimizer.step(closure) == 1.0
    optimizer.register_step_pre_hook(lambda *_: ((optimizer, lambda: 7.0), {}))
    assert optimizer.step(closure) == 7.0


def test_hooks_of_checkpoints_see_and_change_them():
    params = parameters()
    optimizer = made(params)
    descend(optimizer, params)
    called = []
    optimizer.register_state_dict_pre_hook(lambda _: called.append("pre"))
    optimizer.register_state_dict_post_hook(lambda _, state: {**state, "note": "kept"})
    saved = optimizer.state_dict()
    assert called == ["pre"]
    assert saved["note"] == "kept"

    def double(_, state):
        state["param_groups"][0]["lr"] *= 2

    optimizer.register_load_state_dict_pre_hook(double)
    optimizer.register_load_state_dict_post_hook(lambda opt: called.append(opt.param_groups[0]["lr"]))
    optimizer.load_state_dict(deepcopy(saved))
    assert called == ["pre", 2 * saved["param_groups"][0]["lr"]]


@every_path
def test_a_checkpoint_is_read_and_not_written(path):
    params = parameters()
    optimizer = made(params, **path)
    descend(optimizer, params)
    saved = optimizer.state_dict()
    kept = deepcopy(saved)
    other = parameters()
    again = made(other, **path)
    again.load_state_dict(saved)
    assert_same(saved, kept)
    again.load_state_dict(deepcopy(saved))
    descend(again, other)
    assert_same(saved, kept)
    assert all(entry["step"] == 6 for entry in again.state_dict()["state"].values())


@every_path
def test_groups_of_older_releases_and_counts_as_numbers_load_and_run_on(path):
    params = parameters()
    optimizer = made(params, **path)
    descend(optimizer, params)
    older = deepcopy(optimizer.state_dict())
    for group in older["param_groups"]:
        for later in ("maximize", "foreach", "fused", "capturable", "state_dtype", "skip_zero_grad"):
            group.pop(later)
    for entry in older["state"].values():
        entry["step"] = float(entry["step"])
    other = deepcopy(params)
    again = made(other, **path)
    again.load_state_dict(older)
    descend(optimizer, params, seed=5)
    descend(again, other, seed=5)
    torch.testing.assert_close(other, params, rtol=1e-6, atol=1e-7)


@pytest.mark.skipif(torch.__version__ < "2.6", reason="named parameters came with torch 2.6")
@pytest.mark.parametrize("names", [("saved",), ("loaded",), ("saved", "loaded")], ids=" and ".join)
def test_checkpoints_pass_between_named_parameters_and_nameless_ones(names):
    ends = []
    for stop in (False, True):
        params = parameters()
        named = list(zip("ab", params, strict=True))
        optimizer = made(named if "saved" in names else params)
        descend(optimizer, params)
        if stop:
            saved, optimizer = optimizer.state_dict(), made(named if "loaded" in names else params)
            optimizer.load_state_dict(saved)
            assert optimizer.param_groups[0]["param_names"] == ["a", "b"]
        descend(optimizer, params, seed=4)
        ends.append(params)
    assert all(map(torch.equal, *ends))


def test_a_copy_has_every_public_attribute():
    params = parameters()
    optimizer = made(params)
    descend(optimizer, params)
    copy = deepcopy(optimizer)
    public = {name for name in vars(optimizer) if not name.startswith("_")}
    assert {"defaults", "state", "param_groups"} <= public
    assert {name for name in vars(copy) if not name.startswith("_")} == public


def test_equal_runs_save_equal_checkpoints():
    saved = []
    for _ in range(2):
        params = parameters()
        optimizer = made(params)
        descend(optimizer, params)
        saved.append(optimizer.state_dict())
    assert_same(*saved)
    assert list(saved[0]["state"]) == [0, 1]


@every_path
def test_a_profile_shows_the_step_by_name(path):
    params = parameters()
    optimizer = made(params, **path)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        descend(optimizer, params, steps=1)
    assert "Optimizer.step#ThermoLion.step" in {event.key for event in profile.key_averages()}


def test_the_learning_rate_of_several_elements_is_refused():
    with pytest.raises(ValueError, match="lr"):
        made(parameters(), lr=torch.tensor([0.1, 0.2]))


@every_path
@pytest.mark.parametrize("shape", [(), (1,)], ids=str)
def test_a_tensor_learning_rate_of_one_element_is_a_number(shape, path):
    ends = []
    for lr in (0.05, torch.full(shape, 0.05)):
        params = parameters()
        optimizer = made(params, lr=lr, **path)
        descend(optimizer, params)
        ends.append(params)
    torch.testing.assert_close(*ends, rtol=1e-6, atol=1e-7)


def test_parameters_are_listed_once_and_in_order():
    first, second = parameters()
    with pytest.warns(UserWarning, match="duplicate parameters"):
        made([first, first])
    with pytest.raises(ValueError, match="more than one parameter group"):
        made([{"params": [first]}, {"params": [first, second]}])
    with pytest.raises(ValueError, match="empty parameter list"):
        made([])
    groups = made(OrderedDict(a=first, b=second).values()).param_groups
    assert [id(param) for param in groups[0]["params"]] == [id(first), id(second)]
