"""The length of a step: exact tensor by tensor, in a few launches for all."""

import math

import pytest
import torch
from pulseopt._step.update_norm import UpdateNorm
from torch import nn


def moved(params, norm):
    norm.begin(params)
    with torch.no_grad():
        for index, param in enumerate(params):
            param.add_(index + 1)
    norm.end()
    return norm.read()


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
def test_it_is_the_length_over_all_tensors(foreach, dtype):
    params = [nn.Parameter(torch.zeros(3, 2, dtype=dtype)) for _ in range(4)]
    norm = UpdateNorm(foreach)
    for _ in range(2):
        assert moved(params, norm) == pytest.approx(math.sqrt(6 * (1 + 4 + 9 + 16)), rel=1e-6)


def test_in_lists_it_takes_as_many_launches_for_any_number_of_tensors():
    class Launches(torch.utils._python_dispatch.TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.count += not any(view in func.__name__ for view in ("detach", "alias", "unbind", "view"))
            return func(*args, **(kwargs or {}))

    counts = []
    for number in (2, 300):
        params = [nn.Parameter(torch.zeros(5)) for _ in range(number)]
        norm = UpdateNorm(foreach=True)
        norm.begin(params)
        norm.end()
        with Launches() as launches:
            norm.begin(params)
            norm.end()
        counts.append(launches.count)
    assert counts[0] == counts[1] <= 3, counts


def test_without_parameters_it_is_zero_and_before_the_first_step_none():
    norm = UpdateNorm()
    assert norm.read() is None
    assert moved([], norm) == 0.0
