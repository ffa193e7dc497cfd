"""Closures: called once, with gradients enabled, before the step; what it returns is returned."""

from typing import cast

import torch
from torch import Tensor

from testkit.case import Case
from testkit.checks._check import check, expect
from testkit.trajectories import Trajectory, copies, parting, run
from testkit.trial import OptimizerTrial

STEPS = 3


class _Closure:
    """Counts its calls, and notes whether each could have gone backward."""

    def __init__(self, trial: OptimizerTrial, t: int) -> None:
        self.trial = trial
        self.t = t
        self.grad_enabled: list[bool] = []
        self.losses: list[Tensor] = []

    def __call__(self) -> float:
        self.grad_enabled.append(torch.is_grad_enabled())
        with torch.enable_grad():
            self.losses.append(self.trial.problem.backward(self.t))
        return cast("float", self.losses[-1])  # torch's annotation; its own optimizers take and return the tensor


@check
def the_closure_is_called_once(case: Case) -> None:
    """``step(closure)`` calls it once with gradients enabled, steps on what it found, and returns its loss."""
    if case.contract.closure == "refused":
        _is_refused(case)
        return
    trial = case.start()
    trajectory: Trajectory = []
    for t in range(STEPS):
        closure = _Closure(trial, t)
        if case.contract.feed is not None:
            case.contract.feed(trial.optimizer, trial.problem.backward(t))
        with torch.set_grad_enabled(t % 2 == 0):
            returned = cast("Tensor | float | None", trial.optimizer.step(closure))
        calls = len(closure.losses)
        once = calls >= 1 if case.contract.closure == "needed" else calls == 1
        expect(once, "the closure to be called once", f"it was called {calls} times")
        expect(all(closure.grad_enabled), "gradients to be enabled inside the closure", "they were disabled")
        loss = closure.losses[0]
        same = returned is not None and float(returned) == float(loss)
        expect(same, f"step to return the closure's loss, {float(loss)}", f"it returned {returned}")
        trajectory.append(copies(trial.parameters))
    plain = case.start()
    where = parting(trajectory, run(plain, range(STEPS)))
    expect(case.contract.feed is not None or not where, "the step that follows a plain backward", where)
    if case.contract.closure == "once":
        plain.problem.backward(9)
        nothing = cast("object", plain.optimizer.step())
        expect(nothing is None, "step without a closure to return None", f"it returned {nothing!r}")


def _is_refused(case: Case) -> None:
    trial = case.start()
    try:
        trial.optimizer.step(_Closure(trial, 0))
    except (TypeError, RuntimeError, ValueError):
        return
    expect(False, "a closure to be refused", "it was taken")
