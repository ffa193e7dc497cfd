"""Steps and temperatures: tensors in the state that agree with the numbers the step goes by."""

import copy
import io

import pytest
import torch
from thermolion import ThermoLion
from thermolion._state import Clock
from torch.nn import Parameter


def optimizer_of(count=3, **settings):
    params = [Parameter(torch.full((2,), 1.0 + i)) for i in range(count)]
    return params, ThermoLion(params, seed=4, **settings)


def step(params, optimizer, due=None):
    for place, param in enumerate(params):
        param.grad = torch.ones_like(param) if due is None or place in due else None
    optimizer.step()


def standing(params, optimizer):
    states = [optimizer.state[param] for param in params]
    return [(state["step"].item(), state["temp"].item()) for state in states]


@pytest.mark.parametrize("capturable", [False, True])
def test_each_parameter_counts_its_own_steps(capturable):
    params, optimizer = optimizer_of(temp_decay=0.9, capturable=capturable)
    step(params, optimizer)
    step(params, optimizer, due=[1])
    step(params, optimizer, due=[0, 1])
    assert standing(params, optimizer) == [(2, 0.9 * 0.9), (3, 0.9 * (0.9 * 0.9)), (1, 0.9)]


def test_a_parameter_without_gradients_gets_no_state():
    params, optimizer = optimizer_of()
    step(params, optimizer, due=[0, 2])
    assert set(optimizer.state) == {params[0], params[2]}


def test_the_temperature_is_the_running_product():
    params, optimizer = optimizer_of(1, temp_decay=0.1)
    temperature = 1.0
    for _ in range(5):
        step(params, optimizer)
        temperature = 0.1 * temperature
        assert optimizer.state[params[0]]["temp"].item() == temperature


def test_what_others_write_to_the_state_counts():
    params, optimizer = optimizer_of(2, temp_decay=0.5)
    step(params, optimizer)
    optimizer.state[params[0]]["step"].fill_(10)
    optimizer.state[params[1]]["temp"] = torch.tensor(0.25, dtype=torch.float64)
    optimizer.state[params[1]]["step"] = torch.tensor(7.0)
    step(params, optimizer)
    assert standing(params, optimizer) == [(11, 0.25), (8, 0.125)]


def test_a_cleared_state_begins_anew():
    params, optimizer = optimizer_of(2, temp_decay=0.5)
    step(params, optimizer)
    step(params, optimizer)
    optimizer.state[params[0]].clear()
    step(params, optimizer)
    assert standing(params, optimizer) == [(1, 0.5), (3, 0.125)]


def test_a_copy_counts_on_its_own():
    params, optimizer = optimizer_of(2, temp_decay=0.5)
    step(params, optimizer)
    params_too, optimizer_too = copy.deepcopy((params, optimizer))
    step(params_too, optimizer_too)
    assert standing(params, optimizer) == [(1, 0.5)] * 2
    assert standing(params_too, optimizer_too) == [(2, 0.25)] * 2


def test_two_optimizers_do_not_share_a_loaded_count():
    params, optimizer = optimizer_of(2, temp_decay=0.5)
    step(params, optimizer)
    params_too, optimizer_too = optimizer_of(2, temp_decay=0.5)
    optimizer_too.load_state_dict(optimizer.state_dict())
    step(params_too, optimizer_too)
    assert standing(params, optimizer) == [(1, 0.5)] * 2
    assert standing(params_too, optimizer_too) == [(2, 0.25)] * 2


def test_a_checkpoint_holds_every_entry_as_a_tensor():
    params, optimizer = optimizer_of(2)
    step(params, optimizer)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    for state in torch.load(file, weights_only=True)["state"].values():
        assert set(state) == {"step", "m", "v", "temp", "v_mean"}
        assert all(isinstance(value, torch.Tensor) for value in state.values())


def test_a_clock_knows_foreign_tensors():
    states = [{"step": torch.tensor(3.0), "temp": torch.tensor(0.5)}, {}]
    clock = Clock(states)
    assert clock.fits(states)
    assert (clock.steps, clock.temperatures) == ([3, 0], [0.5, 1.0])
    states[0]["step"] = torch.tensor(3.0)
    assert not clock.fits(states)
    assert not clock.fits(states[:1])
