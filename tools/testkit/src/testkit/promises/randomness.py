"""Randomness: the global streams are the caller's, and a seed fixes a run."""

import random
import sys
from typing import Any

import torch

from testkit.case import Case, TrialCase
from testkit.promises._promise import expect, promise
from testkit.sameness import difference
from testkit.trajectories import parting, run

STEPS = 5


def _streams() -> dict[str, Any]:
    streams: dict[str, Any] = {"torch": torch.get_rng_state(), "Python": random.getstate()}
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        kind, keys, *rest = numpy.random.get_state()
        streams["NumPy"] = [kind, keys.tolist(), *rest]
    return streams


@promise
def the_global_stream_is_left_alone(case: Case | TrialCase) -> None:
    """Setting up, stepping, saving and loading advance neither torch's, Python's nor NumPy's global stream."""
    if case.contract.draws_from_global_stream:
        return
    trial = case.start()  # what is done once per process is done by now
    before = _streams()
    if isinstance(case, Case):
        trial = case.start()  # any other trial may build its model at random
    run(trial, range(STEPS))
    trial.load_state_dict(trial.state_dict())
    after = _streams()
    for name, state in before.items():
        same = not difference(after[name], state)
        expect(same, f"the global stream of {name} to be where it was", "it had moved")


@promise
def the_same_seed_gives_the_same_run(case: Case | TrialCase) -> None:
    """Two runs under one global seed are the same to the bit."""
    first, second = (_seeded_run(case) for _ in range(2))
    where = parting(second, first)
    expect(not where, "two runs under one seed to be the same", where)


def _seeded_run(case: Case | TrialCase) -> list[list[torch.Tensor]]:
    torch.manual_seed(3)
    random.seed(3)
    return run(case.start(), range(STEPS))
