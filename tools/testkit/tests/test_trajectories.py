"""A trajectory holds copies, one entry per step, and two are told apart at their first difference."""

import math

import pytest
import torch
from testkit import Case
from testkit.problems import quadratic, rosenbrock
from testkit.trajectories import follow, parting, run


def test_a_trajectory_has_one_entry_of_copies_per_step():
    trial = Case("plain", torch.optim.SGD, lr=0.1).start()
    trajectory = run(trial, range(3))
    assert [len(entry) for entry in trajectory] == [len(trial.parameters)] * 3
    assert torch.equal(trajectory[-1][1], trial.parameters[1])
    assert not torch.equal(trajectory[0][1], trial.parameters[1])
    assert trajectory[-1][1].data_ptr() != trial.parameters[1].data_ptr()


def test_the_first_difference_is_told_with_its_step():
    first, second = (run(Case("plain", torch.optim.SGD, lr=0.1).start(), range(4)) for _ in range(2))
    assert parting(first, second) == ""
    second[2][1][0] += 1
    second[3][0] += 1
    assert parting(first, second).startswith("at step 2, parameter[1] differs by up to 1")
    assert parting(first, second, first=10).startswith("at step 12, ")


def test_trajectories_of_unequal_length_are_a_mistake():
    with pytest.raises(ValueError, match=r"longer|shorter"):
        parting([], [[torch.ones(1)]])


def test_following_sgd_is_the_closed_form():
    problem = quadratic(((1,),), dtype=torch.float64)
    theta = problem.parameters[0].item()
    trajectory = follow(torch.optim.SGD(problem.parameters, lr=0.1), problem, 5)
    for t, (entry,) in enumerate(trajectory):
        theta -= 0.1 * 0.5 * 2 * 0.5 * 2 * (theta - 1.5 * math.cos(0.9 * t))
        assert float(entry) == pytest.approx(theta, rel=1e-12)


def test_following_goes_downhill_in_the_valley():
    problem = rosenbrock(dtype=torch.float64)
    before = problem.backward(0)
    follow(torch.optim.Adam(problem.parameters, lr=0.02), problem, 200)
    assert problem.backward(0) < 0.2 * before
