"""Learning rates: schedulers work, whether the rate is a float or a tensor."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import SGD, Optimizer
from torch.optim import lr_scheduler as schedulers

from testkit.case import Case
from testkit.checks._check import check, expect
from testkit.checks.kinds import refusal
from testkit.problems import MovingQuadratic, initial
from testkit.sameness import difference
from testkit.trajectories import Trajectory, copies, parting
from testkit.trial import OptimizerTrial

STEPS = 10
SHAPES = ((3,), (2, 3))

SCHEDULERS: dict[str, Callable[[Optimizer], schedulers.LRScheduler]] = {
    "StepLR": lambda optimizer: schedulers.StepLR(optimizer, step_size=3, gamma=0.5),
    "CosineAnnealingLR": lambda optimizer: schedulers.CosineAnnealingLR(optimizer, T_max=8),
    "LambdaLR": lambda optimizer: schedulers.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch)),
    "OneCycleLR": lambda optimizer: schedulers.OneCycleLR(optimizer, 0.05, total_steps=12, cycle_momentum=False),
    "SequentialLR": lambda optimizer: schedulers.SequentialLR(
        optimizer,
        [schedulers.LinearLR(optimizer, 0.1, total_iters=4), schedulers.ExponentialLR(optimizer, 0.7)],
        milestones=[4],
    ),
}


def _trial(case: Case, rates: list[Any]) -> OptimizerTrial:
    """Starts one float64 parameter per rate, each in a group of its own."""
    problem = MovingQuadratic([initial(SHAPES[i], i, dtype=torch.float64) for i in range(len(rates))])
    groups = [{"params": [p], "lr": rate} for p, rate in zip(problem.parameters, rates, strict=True)]
    return OptimizerTrial(problem, case.make(groups), case.contract)


def _scheduled(trial: OptimizerTrial, name: str) -> tuple[Trajectory, list[list[float]]]:
    """Runs under a scheduler; returns the trajectory and the rates that were in the groups before each step."""
    scheduler = SCHEDULERS[name](trial.optimizer)
    trajectory: Trajectory = []
    rates: list[list[float]] = []
    for t in range(STEPS):
        rates.append([float(group["lr"]) for group in trial.optimizer.param_groups])
        trial.step(t)
        _advance(scheduler)
        trajectory.append(copies(trial.parameters))
    return trajectory, rates


def _advance(scheduler: schedulers.LRScheduler) -> None:
    with warnings.catch_warnings():  # the SequentialLR of older torch warns of its own doing
        warnings.filterwarnings("ignore", message="The epoch parameter in `scheduler.step")
        scheduler.step()


def _by_the_book(name: str, rates: list[float]) -> list[list[float]]:
    """Returns the rates that the scheduler gives an optimizer of torch's own."""
    optimizer = SGD([{"params": [Parameter(torch.zeros(1))], "lr": rate} for rate in rates], lr=1.0)
    scheduler = SCHEDULERS[name](optimizer)
    book: list[list[float]] = []
    for _ in range(STEPS):
        book.append([float(group["lr"]) for group in optimizer.param_groups])
        optimizer.step()  # pyright: ignore[reportUnknownMemberType]
        _advance(scheduler)
    return book


def _by_hand(trial: OptimizerTrial, rates: list[list[float]]) -> Trajectory:
    """Writes these rates into the groups, one entry before each step, and runs."""
    trajectory: Trajectory = []
    for t, entry in enumerate(rates):
        for group, rate in zip(trial.optimizer.param_groups, entry, strict=True):
            group["lr"] = rate
        trial.step(t)
        trajectory.append(copies(trial.parameters))
    return trajectory


def _rates(case: Case) -> list[float]:
    """Returns a rate for each group, none where the optimizer has no learning rate."""
    group = case.start().optimizer.param_groups[0]
    if "lr" not in group:
        return []
    rate = float(group["lr"])
    return [rate] if case.contract.one_group else [rate, 3 * rate]


@check
def schedulers_are_obeyed(case: Case) -> None:
    """Under each of torch's schedulers, the rates and the run are those of rates written in by hand."""
    rates = _rates(case)
    if not rates:
        return
    constant = _by_hand(_trial(case, list(rates)), [rates] * STEPS)
    for name in SCHEDULERS:
        trajectory, came = _scheduled(_trial(case, list(rates)), name)
        book = _by_the_book(name, rates)
        where = difference(came, book, "lr")
        expect(not where, f"{name} to give the rates it gives to torch's own SGD", where)
        where = parting(trajectory, _by_hand(_trial(case, list(rates)), book))
        expect(not where, f"{name} to do what the same rates do by hand", where)
        expect(bool(parting(trajectory, constant)), f"{name} to change the run", "it ran as at a constant rate")


@check
def a_tensor_learning_rate_is_obeyed(case: Case) -> None:
    """A tensor as the learning rate runs like the float, is filled by schedulers, and stays the same tensor."""
    rates = _rates(case)
    if not rates:
        return
    tensors = [torch.tensor(rate, dtype=torch.float64) for rate in rates]
    if not case.contract.tensor_lr:
        refused = refusal(lambda: _trial(case, list(tensors)).step(0), "lr")
        expect(bool(refused), "a tensor to be refused as lr", "it was taken")
        return
    trial = _trial(case, list(tensors))
    kept = [group["lr"] for group in trial.optimizer.param_groups]
    trajectory, came = _scheduled(trial, "StepLR")
    expected, book = _scheduled(_trial(case, list(rates)), "StepLR")
    gap = max(abs(a - b) for here, there in zip(came, book, strict=True) for a, b in zip(here, there, strict=True))
    expect(gap < 1e-12, "a scheduler to fill the tensor with the rates of the float", f"they are {gap:.3g} apart")
    for group, rate in zip(trial.optimizer.param_groups, kept, strict=True):
        same = group["lr"] is rate and isinstance(rate, Tensor)
        expect(same, "the tensor to stay in the group", f"the group holds {group['lr']!r}")
    for t, (here, there) in enumerate(zip(trajectory, expected, strict=True)):
        near = all(torch.allclose(a, b, rtol=1e-6, atol=1e-7) for a, b in zip(here, there, strict=True))
        expect(near, "the tensor to do what the float does", f"the runs part at step {t}")
