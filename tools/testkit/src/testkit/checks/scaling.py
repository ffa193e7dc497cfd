"""Gradient scaling: a step that overflows changes nothing, and one that does not is a plain step."""

import copy
from typing import Any

import torch
from torch.amp.grad_scaler import GradScaler

from testkit.case import Case
from testkit.checks._check import check, expect
from testkit.sameness import difference
from testkit.trajectories import copies, run
from testkit.trial import OptimizerTrial

SCALE = 4.0  # a power of two, so that scaling and unscaling are exact


def _scaled_step(trial: OptimizerTrial, scaler: GradScaler, t: int, *, overflow: bool) -> None:
    loss = trial.problem.backward(t)
    scaler.scale(loss)  # sets the scale up, as a training loop does
    for parameter in trial.parameters:
        if parameter.grad is not None:
            parameter.grad.mul_(scaler.get_scale())
    grad = trial.parameters[-1].grad
    if overflow and grad is not None:
        grad.view(-1)[0] = torch.inf
    if trial.contract.feed is not None:
        trial.contract.feed(trial.optimizer, loss)
    scaler.step(trial.optimizer)
    scaler.update()


def _all_of(trial: OptimizerTrial) -> dict[str, Any]:
    """Returns a copy of the parameters and, unless the loss has been fed in, of the optimizer's state."""
    state = {} if trial.contract.feed is not None else copy.deepcopy(trial.optimizer.state_dict())
    return {"parameters": copies(trial.parameters), "state": state}


@check
def an_overflow_step_changes_nothing(case: Case) -> None:
    """``GradScaler`` skips a step whose gradients overflow: parameters, state and settings stay to the bit."""
    if case.contract.closure == "needed":
        return
    trial, plain = case.start(), case.start()
    run(trial, range(3))
    scaler = GradScaler("cpu", init_scale=SCALE)
    before = _all_of(trial)
    _scaled_step(trial, scaler, 3, overflow=True)
    where = difference(_all_of(trial), before)
    expect(not where, "a step that overflows to change nothing", where)
    run(plain, range(3))
    if case.contract.feed is None and not case.contract.draws_from_global_stream:
        for t in range(4, 7):
            _scaled_step(trial, scaler, t, overflow=False)
            plain.step(t)
            where = difference(trial.parameters, plain.parameters, "parameter")
            expect(not where, f"the scaled step {t} to be the plain one", where)
