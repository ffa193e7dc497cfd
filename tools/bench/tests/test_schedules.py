import math
from itertools import pairwise

import pytest
import torch
from bench.protocol.schedules import factor, schedule


def rates(name, steps):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    found, rates = schedule(name, optimizer, steps), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if found is not None:
            found.step()
    return rates


def test_the_cosine_rises_and_falls():
    found = rates("cosine", 100)
    assert found[0] == pytest.approx(0.1)
    assert max(found) == found[9] == 1.0
    assert found[-1] < 0.001
    assert all(a >= b for a, b in pairwise(found[10:]))
    assert found[55] == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))


def test_the_line_falls_to_zero_and_the_constant_stays():
    assert rates("linear", 4) == [1.0, 0.75, 0.5, 0.25]
    assert set(rates("constant", 7)) == {1.0}


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="schedule must be one of constant, cosine, linear, got 'step'"):
        factor("step", 10)
