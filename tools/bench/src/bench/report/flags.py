"""What is wrong with a result: each rule of the protocol that a result breaks shows as a flag beside it."""

import math

from bench.protocol.study import score
from bench.records.models import digest_of
from bench.report.results import EntryResult, WorkloadResult
from bench.report.statistics import ENOUGH_PAIRS

ENOUGH_DECISIONS = 20

MEANING = {
    "edge": "the best learning rate is the lowest or highest tried, even after everyone's grid was widened once",
    "few seeds": f"fewer than {ENOUGH_PAIRS} final seeds: read nothing into it",
    "one-seed tuning": "settings were judged on fewer than two tuning seeds",
    "shared seeds": "a seed was used both to tune and to judge",
    "unequal tuning": "it had another number of trials, or other tuning seeds, than the rest of its table",
    "unproven choice": "the chosen setting is not the best of the recorded tuning runs, or some of those are missing",
    "tested in tuning": "the test part was looked at before the final runs",
    "unpaired": "some of its final seeds have no partner in the reference, or were made on other data",
    "diverged": "at least one final seed ended in NaN or infinity",
    "busy host": "other work ran on the machine: its wall seconds mean nothing (CPU seconds do)",
    "few decisions": f"a controller that decided fewer than {ENOUGH_DECISIONS} times in a run has not been tested",
}


def flags_of_entry(entry: EntryResult, result: WorkloadResult) -> list[str]:
    """The flags of one entry, in the order of their weight."""
    selection, finals = entry.selection, list(entry.finals.values())
    others = [other.selection for other in result.entries]
    typical = max(len(other.trials) for other in others)
    found = {
        "shared seeds": bool(set(selection.tuning_seeds) & {*selection.final_seeds, *selection.untuned_seeds}),
        "one-seed tuning": len(set(selection.tuning_seeds)) < 2,
        "tested in tuning": any(run.test is not None for run in entry.tuning),
        "unproven choice": not choice_follows(entry, result.better),
        "unequal tuning": len(selection.trials) != typical
        or any(other.tuning_seeds != selection.tuning_seeds for other in others),
        "unpaired": not _paired(entry, result),
        "few seeds": len(finals) < ENOUGH_PAIRS,
        "diverged": entry.diverged() > 0,
        "edge": selection.edge,
        "few decisions": any(count < ENOUGH_DECISIONS for count in entry.decisions()),
        "busy host": any(run.machine.busy for run in finals),
    }
    return [name for name, here in found.items() if here]


def choice_follows(entry: EntryResult, better: str) -> bool:
    """Whether the recorded tuning runs give the recorded trials, and those the recorded choice."""
    selection = entry.selection
    values = {(digest_of(run.config.params), run.config.seed): run for run in entry.tuning}
    for trial in selection.trials:
        for seed, value in zip(selection.tuning_seeds, trial.values, strict=False):
            run = values.get((digest_of(trial.params), seed))
            if run is None or run.value != value:
                return False
    best = max((score(trial, better) for trial in selection.trials), default=-math.inf)
    chosen = [score(trial, better) for trial in selection.trials if trial.params == selection.chosen]
    return bool(chosen) and chosen[0] == best


def _paired(entry: EntryResult, result: WorkloadResult) -> bool:
    reference = result.entry(entry.against)
    if reference is None:
        return False
    for seed, run in entry.finals.items():
        partner = reference.finals.get(seed)
        if partner is None:
            return False
        mine, theirs = run.config, partner.config
        if (mine.data, mine.budget, mine.device, mine.task) != (theirs.data, theirs.budget, theirs.device, theirs.task):
            return False
    return True
