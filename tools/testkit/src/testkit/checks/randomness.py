"""Randomness: the global streams are the caller's, and a seed fixes a run."""

from testkit import streams
from testkit.case import Case, TrialCase
from testkit.checks._check import check, expect
from testkit.sameness import difference
from testkit.trajectories import Trajectory, parting, run

STEPS = 5


@check
def the_global_stream_is_left_alone(case: Case | TrialCase) -> None:
    """Setting up, stepping, saving and loading advance neither torch's, Python's nor NumPy's global stream."""
    if case.contract.draws_from_global_stream:
        return
    trial = case.start()  # what is done once per process is done by now
    before = streams.states()
    if isinstance(case, Case):
        trial = case.start()  # any other trial may build its model at random
    run(trial, range(STEPS))
    trial.load_state_dict(trial.state_dict())
    after = streams.states()
    for name, state in before.items():
        same = not difference(after[name], state)
        expect(same, f"the global stream of {name} to be where it was", "it had moved")


@check
def the_same_seed_gives_the_same_run(case: Case | TrialCase) -> None:
    """Two runs under one global seed are the same to the bit."""
    first, second = _seeded_run(case), _seeded_run(case)
    where = parting(second, first)
    expect(not where, "two runs under one seed to be the same", where)


def _seeded_run(case: Case | TrialCase) -> Trajectory:
    streams.seed(3)
    return run(case.start(), range(STEPS))
