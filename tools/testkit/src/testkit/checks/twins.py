"""Copies: ``deepcopy`` and ``pickle`` give a twin that continues the run in the same way, sharing nothing."""

import copy
import pickle

from testkit.case import Case, TrialCase
from testkit.checks._check import check, expect
from testkit.sameness import difference
from testkit.trajectories import copies, parting, run
from testkit.trial import OptimizerTrial, Trial

STEPS = 4


@check
def a_deep_copy_runs_on_alike(case: Case | TrialCase) -> None:
    """A deep copy made in the middle of a run continues to the bit, and the two share nothing."""
    trial = case.start()
    run(trial, range(STEPS))
    if case.contract.draws_from_global_stream:
        copy.deepcopy(trial)
        return
    _go_on(trial, copy.deepcopy(trial), "the deep copy")


@check
def a_pickle_runs_on_alike(case: Case) -> None:
    """An optimizer pickled with its parameters in the middle of a run continues to the bit."""
    trial = case.start()
    run(trial, range(STEPS))
    problem, optimizer = pickle.loads(pickle.dumps((trial.problem, trial.optimizer)))
    if case.contract.draws_from_global_stream:
        return
    _go_on(trial, OptimizerTrial(problem, optimizer, case.contract), "the pickled optimizer")


def _go_on(trial: Trial, twin: Trial, name: str) -> None:
    before = copies(trial.parameters)
    came = run(twin, range(STEPS, 2 * STEPS))
    where = difference(copies(trial.parameters), before, "parameter")
    expect(not where, f"{name} to share no parameter with the original", where)
    where = parting(came, run(trial, range(STEPS, 2 * STEPS)), first=STEPS)
    expect(not where, f"{name} to run on like the original", where)
