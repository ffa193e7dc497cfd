"""Randomness: the global streams are the caller's, and a seed fixes a run."""

import random
import sys

import torch

from testkit.case import Case, TrialCase
from testkit.promises._promise import expect, promise
from testkit.sameness import difference
from testkit.trajectories import parting, run

STEPS = 5


@promise
def the_global_stream_is_left_alone(case: Case | TrialCase) -> None:
    """Setting up, stepping, saving and loading advance neither torch's, Python's nor NumPy's global stream."""
    if case.contract.draws_from_global_stream:
        return
    case.start()  # whatever is done once per process is done by now
    for name, before, now in _around(case):
        expect(not difference(now, before), f"{name} to be where it was", "it had moved")


def _around(case: Case | TrialCase) -> list[tuple[str, object, object]]:
    trial = case.start() if isinstance(case, Case) else None  # a trial may set itself up at random
    started = case.start() if trial is None else trial
    before = _streams()
    if isinstance(case, Case):
        started = case.start()
    run(started, range(STEPS))
    started.load_state_dict(started.state_dict())
    after = _streams()
    return [(name, before[name], after[name]) for name in before if name in after]


def _streams() -> dict[str, object]:
    streams: dict[str, object] = {
        "torch's global stream": torch.get_rng_state(),
        "Python's global stream": random.getstate(),
    }
    if (numpy := sys.modules.get("numpy")) is not None:
        kind, keys, *rest = numpy.random.get_state()
        streams["NumPy's global stream"] = [kind, torch.tensor(keys.tolist()), *rest]
    return streams


@promise
def the_same_seed_gives_the_same_run(case: Case | TrialCase) -> None:
    """Two runs under one global seed are the same to the bit."""
    runs = []
    for _ in range(2):
        torch.manual_seed(3)
        random.seed(3)
        runs.append(run(case.start(), range(STEPS)))
    where = parting(runs[1], runs[0])
    expect(not where, "two runs under one seed to be the same", where)
