"""What 0.1.0 computed, replayed: recorded trajectories with cold noise, from closed-form gradients."""

import json
import math
from pathlib import Path

import pytest
import torch
from thermolion import ThermoLion
from torch.nn import Parameter

RECORDS = json.loads(Path(__file__).with_name("thermolion_trajectories.json").read_text())["records"]
PATHS = [{}, {"foreach": False, "fused": False}, {"foreach": True}]


def start(shape, dtype):
    numbers = torch.arange(math.prod(shape), dtype=torch.float64)
    return Parameter((numbers.remainder(7) / 5 - 0.6).to(dtype).reshape(shape))


def gradient(number, t, like):
    i = range(like.numel())
    values = [math.sin(0.9 * (k + 1) * (1 + number) + 0.37 * t) * (1 + 0.1 * ((5 * k + t) % 4)) for k in i]
    return torch.tensor([value - 0.2 * number for value in values], dtype=like.dtype).reshape(like.shape)


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["id"])
def test_the_recorded_trajectories_repeat(record, path):
    case, expect = record["case"], record["expect"]
    dtype = getattr(torch, case["dtype"])
    params = [start(shape, dtype) for shape in case["shapes"]]
    optimizer = ThermoLion(params, **case["kwargs"], **path)
    near = 1e-12 if dtype == torch.float64 else 2e-7
    for t in range(case["steps"]):
        for number, param in enumerate(params):
            param.grad = gradient(number, t, param)
        optimizer.step()
        for param, values in zip(params, expect["trajectory"][t], strict=True):
            expected = torch.tensor(values, dtype=dtype)
            torch.testing.assert_close(param.detach().reshape(-1), expected, rtol=near, atol=near)
    states = [optimizer.state[param] for param in params]
    assert [state["temp"] for state in states] == expect["temps"]
    assert [state["step"] for state in states] == expect["steps_state"]
    assert set(expect["state_keys"]) <= set(states[0])
    assert set(expect["group_keys"]) <= set(optimizer.param_groups[0])
