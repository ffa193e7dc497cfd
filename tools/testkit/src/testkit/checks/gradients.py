"""Gradients: without one nothing changes, and existing ones are not modified."""

from functools import partial

from testkit.case import Case
from testkit.checks._check import check, expect
from testkit.sameness import difference
from testkit.trajectories import copies, run


@check
def no_gradient_no_change(case: Case) -> None:
    """A parameter whose gradient is None keeps its value to the bit, from the start and later on."""
    trial = case.start()
    for t in range(6):
        loss = trial.problem.backward(t)
        idle = [0, 2] if t < 3 else [1] if t < 5 else range(len(trial.parameters))
        for index in idle:
            trial.parameters[index].grad = None
        before = copies(trial.parameters)
        if case.contract.closure == "needed":
            trial.optimizer.step(partial(float, loss))
        else:
            trial.apply(loss)
        for index in idle:
            where = difference(trial.parameters[index], before[index], f"parameter {index}")
            expect(not where, f"a parameter without gradient to stay at step {t}", where)


@check
def gradients_are_left_as_they_were(case: Case) -> None:
    """``step`` reads ``.grad``, and neither writes to it, nor replaces it, nor drops it."""
    if case.contract.changes_gradients:
        return
    trial = case.start()
    if case.contract.closure == "needed":
        run(trial, range(1))
        return
    for t in range(4):
        loss = trial.problem.backward(t)
        grads = [parameter.grad for parameter in trial.parameters]
        before = [None if grad is None else grad.clone() for grad in grads]
        trial.apply(loss)
        for index, (parameter, grad, value) in enumerate(zip(trial.parameters, grads, before, strict=True)):
            expect(parameter.grad is grad, "the gradient to be the same tensor", f"parameter {index} has another")
            where = difference(grad, value, f"the gradient of parameter {index}")
            expect(not where, f"gradients as backward left them after step {t}", where)
