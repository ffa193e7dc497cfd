"""A run stopped after any step and resumed is the unbroken one to the bit, whatever the global stream did meanwhile."""

import io

import pytest
import torch
from thermolion import ThermoLion
from torch.nn import Parameter

STEPS = 14
SIZES = [3, 5000, 1, 2, 4]


def begin(dtype, settings):
    values = torch.Generator().manual_seed(0)
    params = [Parameter(torch.randn(size, generator=values).to(dtype)) for size in SIZES]
    return params, ThermoLion(params, lr=0.05, temp_decay=0.6, **settings)  # warm for nine steps, then cold


def train(params, optimizer, steps):
    for t in steps:
        for place, param in enumerate(params):
            values = torch.Generator().manual_seed(100 * t + place)
            missing = (t + place) % 4 == 3
            param.grad = None if missing else torch.randn(param.shape, generator=values).to(param.dtype)
        optimizer.step()


def saved(params, optimizer):
    file = io.BytesIO()
    torch.save({"params": [param.detach() for param in params], "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def tensors(params, optimizer):
    return [*params, *(value for state in optimizer.state.values() for value in state.values())]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("seed", [None, 7])
def test_stopped_after_any_step_it_goes_on_to_the_bit(path, dtype, seed):
    settings = {**path, "seed": seed, "stochastic_rounding": dtype == torch.bfloat16}
    torch.manual_seed(5)
    unbroken = begin(dtype, settings)
    checkpoints = []
    for t in range(STEPS):
        train(*unbroken, [t])
        checkpoints.append(saved(*unbroken))
    for stop in range(1, STEPS):
        torch.manual_seed(1000 + stop)  # another process, seeded otherwise
        params, optimizer = begin(dtype, settings)
        checkpoint = checkpoints[stop - 1]
        for param, value in zip(params, checkpoint["params"], strict=True):
            param.data.copy_(value)
        optimizer.load_state_dict(checkpoint["optimizer"])
        torch.manual_seed(2000 + stop)
        train(params, optimizer, range(stop, STEPS))
        assert all(map(torch.equal, tensors(params, optimizer), tensors(*unbroken))), f"stopped after {stop} steps"
