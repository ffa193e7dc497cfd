"""Paths: every fast path equals the reference path."""

from collections.abc import Mapping
from typing import Any

import torch

from testkit.case import Case
from testkit.checks._check import check, expect
from testkit.problems import MovingQuadratic, initial
from testkit.trajectories import Trajectory, parting, run
from testkit.trial import OptimizerTrial

STEPS = 13
ROUNDINGS = 8  # how many units in the last place the paths may drift apart, unless documented
SHAPES = ((), (3,), (0,), (4, 5), (2, 3, 2), (17,))


def _paths(case: Case) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    """Returns the settings of the reference path and of each fast one."""
    reference, fast = case.contract.reference, case.contract.fast
    known: set[str] = set()
    if isinstance(case.factory, type):
        known = {"foreach", "fused"} & case.start().optimizer.defaults.keys()
    if reference is None:
        reference = dict.fromkeys(sorted(known), False)
    if fast is None:
        fast = [{name: True} for name in sorted(known)]
    return reference, list(fast)


def _run(case: Case, dtype: torch.dtype, settings: Mapping[str, Any]) -> Trajectory:
    """Runs over mixed shapes in two groups, of which one sits out a step."""
    problem = MovingQuadratic([initial(shape, index, dtype=dtype) for index, shape in enumerate(SHAPES)])
    groups: list[dict[str, Any]] = [{"params": problem.parameters[:3]}, {"params": problem.parameters[3:]}]
    if case.contract.one_group:
        groups = [{"params": problem.parameters}]
    return run(OptimizerTrial(problem, case.make(groups, **settings), case.contract), range(STEPS))


@check
def fast_equals_reference(case: Case) -> None:
    """Each fast path goes where the reference path goes, within the tolerance that is documented."""
    reference, fast = _paths(case)
    tolerance = case.contract.fast_tolerance
    for dtype in case.contract.dtypes if fast else ():
        expected = _run(case, dtype, reference)
        for settings in fast:
            came = _run(case, dtype, {**reference, **settings})
            where = parting(came, expected)
            granted = ROUNDINGS * torch.finfo(dtype).eps if tolerance is None else tolerance
            if where and _near(came, expected, granted):
                continue
            expect(not where, f"{dict(settings)} to run like {dict(reference)} in {dtype}", where)


def _near(came: Trajectory, expected: Trajectory, tolerance: float) -> bool:
    try:
        for here, there in zip(came, expected, strict=True):
            torch.testing.assert_close(here, there, rtol=tolerance, atol=tolerance)
    except AssertionError:
        return False
    return True
