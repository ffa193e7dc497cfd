"""Failures: a step that raises leaves the settings as they were, and the optimizer usable."""

from collections.abc import Callable
from typing import Any, NoReturn

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from testkit.case import Case
from testkit.checks._check import check, expect
from testkit.host_reads import written_by
from testkit.sameness import difference
from testkit.trajectories import run
from testkit.trial import OptimizerTrial


class PlannedError(Exception):
    """Raised on purpose in the middle of a step."""


def _settings(trial: OptimizerTrial) -> list[dict[str, Any]]:
    return [{k: _copy(v) for k, v in group.items() if k != "params"} for group in trial.optimizer.param_groups]


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


def _planned(*_: Any) -> NoReturn:
    raise PlannedError("raised on purpose by the test kit")


def _in_the_closure(trial: OptimizerTrial, t: int) -> None:
    _feed(trial, t)
    trial.optimizer.step(_planned)


def _in_a_hook(trial: OptimizerTrial, t: int) -> None:
    handle = trial.optimizer.register_step_pre_hook(_planned)
    try:
        trial.step(t)
    finally:
        handle.remove()


def _in_the_update(trial: OptimizerTrial, t: int) -> None:
    with _NoWriting(trial.parameters[-1]):
        trial.step(t)


class _NoWriting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Raises when an operator is about to write to a parameter; a kernel that torch does not see goes unnoticed."""

    def __init__(self, parameter: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # pyright: ignore[reportUnknownMemberType]
        self.address = parameter.data_ptr()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        for tensor in written_by(func, args):
            if tensor.data_ptr() == self.address:
                raise PlannedError
        return func(*args, **(kwargs or {}))


def _feed(trial: OptimizerTrial, t: int) -> None:
    if trial.contract.feed is not None:
        trial.contract.feed(trial.optimizer, trial.problem.backward(t))


@check
def a_failed_step_leaves_the_settings(case: Case) -> None:
    """A step that raises, wherever it does, leaves every group's settings as they were; the next step works."""
    ways: dict[str, Callable[[OptimizerTrial, int], None]] = {"a hook": _in_a_hook}
    if case.contract.closure != "refused":
        ways["the closure"] = _in_the_closure
    if case.contract.closure != "needed":
        ways["the update"] = _in_the_update
    for place, fail in ways.items():
        trial = case.start()
        run(trial, range(3))
        before = _settings(trial)
        try:
            fail(trial, 3)
        except PlannedError:
            pass
        else:
            expect(place == "the update", f"an exception raised in {place} to reach the caller", "step returned")
        where = difference(_settings(trial), before, "param_groups")
        expect(not where, f"the settings as they were before {place} raised", where)
        run(trial, range(4, 6))
