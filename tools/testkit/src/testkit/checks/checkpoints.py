"""Checkpoints: a run stopped at any step and resumed is the run that was never stopped."""

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from testkit import streams
from testkit.case import Case, TrialCase
from testkit.checks._check import check, expect
from testkit.problems import quadratic
from testkit.sameness import difference
from testkit.trajectories import Trajectory, copies, parting, run
from testkit.trial import Trial

STEPS = 13


def _save(trial: Trial) -> bytes:
    buffer = io.BytesIO()
    torch.save({"parameters": copies(trial.parameters), "state": trial.state_dict()}, buffer)
    return buffer.getvalue()


def _resume(trial: Trial, checkpoint: bytes) -> None:
    saved: dict[str, Any] = torch.load(io.BytesIO(checkpoint), weights_only=True)
    with torch.no_grad():
        for parameter, value in zip(trial.parameters, saved["parameters"], strict=True):
            parameter.copy_(value)
    trial.load_state_dict(saved["state"])


@check
def a_checkpoint_continues_to_the_bit(case: Case | TrialCase) -> None:
    """A checkpoint of any step, read with ``weights_only=True`` under another global seed, continues to the bit."""
    if isinstance(case, TrialCase):
        _check(case, case.start)
        return
    for dtype in case.contract.dtypes:
        _check(case, partial(_start, case, dtype))


def _start(case: Case, dtype: torch.dtype) -> Trial:
    return case.start(quadratic(dtype=dtype))


def _check(case: Case | TrialCase, start: Callable[[], Trial]) -> None:
    trial = start()
    checkpoints, positions = [_save(trial)], [torch.get_rng_state()]
    unbroken: Trajectory = []
    for t in range(STEPS):
        unbroken += run(trial, [t])
        checkpoints.append(_save(trial))
        positions.append(torch.get_rng_state())
    for t in range(STEPS):
        streams.seed(1000 + t)
        resumed = start()
        _resume(resumed, checkpoints[t])
        if case.contract.draws_from_global_stream:
            torch.set_rng_state(positions[t])
        where = parting(run(resumed, range(t, STEPS)), unbroken[t:], first=t)
        expect(not where, f"the run resumed from the checkpoint before step {t} to be the unbroken one", where)
        where = difference(resumed.state_dict(), trial.state_dict(), "state")
        expect(not where, f"the same state at the end of the run resumed before step {t}", where)
