"""Flags: each rule of the protocol that a result breaks is shown beside it."""

from bench.protocol.search import score
from bench.records.models import Run, Selection, Trial, digest_of
from bench.report.results import EntryResult, WorkloadResult
from bench.report.statistics import ENOUGH_PAIRS

ENOUGH_DECISIONS = 20

MEANING = {
    "edge": "the best learning rate lies at an end of the range that was searched",
    "widened": "its best rate lay in the outer tenth of its range, so that it was searched for another decade",
    "few seeds": f"fewer than {ENOUGH_PAIRS} final seeds: read nothing into it",
    "one-seed tuning": "settings were judged on fewer than two tuning seeds",
    "shared seeds": "a seed was used both to tune and to judge",
    "unequal tuning": "it had another number of trials, or other tuning seeds, than the rest of its table",
    "stage 1 misled": "the short runs of stage 1 would have dropped the setting that was best at full length",
    "unproven choice": "the chosen setting is not the best of the recorded tuning runs, or some of those are missing",
    "tested in tuning": "the test part was looked at before the final runs",
    "unpaired": "some of its final seeds have no partner in the reference, or were made on other data",
    "diverged": "at least one final seed ended in NaN or infinity",
    "busy host": "other work ran on the machine: wall seconds mean nothing, and CPU seconds are longer",
    "few decisions": f"a controller that decided fewer than {ENOUGH_DECISIONS} times in a run has not been tested",
}


def flags_of_entry(entry: EntryResult, result: WorkloadResult) -> list[str]:
    """Returns the flags of one entry, in the order of their weight."""
    selection, finals = entry.selection, list(entry.finals.values())
    searched = selection.follows is None
    judged = {*selection.final_seeds, *selection.untuned_seeds, *(selection.rate_seeds or [])}
    found = {
        "shared seeds": bool(set(selection.tuning_seeds) & judged),
        "one-seed tuning": len(set(selection.tuning_seeds)) < 2,
        "tested in tuning": any(run.test is not None for run in entry.tuning),
        "stage 1 misled": searched and entry.is_rescued(),
        "unproven choice": searched and not choice_follows(entry),
        "unequal tuning": searched and not _equal_tuning(selection, result),
        "unpaired": not _paired(entry, result),
        "few seeds": len(finals) < ENOUGH_PAIRS,
        "diverged": entry.diverged() > 0,
        "edge": selection.edge,
        "widened": selection.widened,
        "few decisions": any(count < ENOUGH_DECISIONS for count in entry.decisions()),
        "busy host": any(run.machine.busy for run in finals),
    }
    return [name for name, here in found.items() if here]


def _equal_tuning(selection: Selection, result: WorkloadResult) -> bool:
    """Returns whether it tried as many settings as most, more only where its box was widened, on the same seeds."""
    others = [other.selection for other in result.entries if other.selection.follows is None]
    plain = [other for other in others if not other.widened]
    typical, mine = max(map(_tried, plain or others)), _tried(selection)
    enough = mine > typical if selection.widened and plain else mine == typical
    return enough and all(other.tuning_seeds == selection.tuning_seeds for other in others)


def _tried(selection: Selection) -> int:
    """Counts the trials; settings alone where the documented one goes on whatever its rank, at no cost to another."""
    settings = [digest_of(trial.params) for trial in selection.trials]
    return len({*settings}) if selection.documented else len(settings)


def choice_follows(entry: EntryResult) -> bool:
    """Returns whether the recorded tuning runs give the recorded trials, and those the recorded choice."""
    selection = entry.selection
    values = {_key(run): run for run in entry.tuning}
    for trial in selection.trials:
        for seed, value in zip(selection.tuning_seeds, trial.values, strict=False):
            run = values.get((digest_of(trial.params), seed, digest_of(_budget(trial, selection))))
            if run is None or run.value != value:
                return False
    decisive = entry.decisive()
    best = score(decisive[0], selection.better) if decisive else None
    chosen = [score(trial, selection.better) for trial in decisive if trial.params == selection.chosen]
    return bool(chosen) and chosen[0] == best


def _key(run: Run) -> tuple[str, int, str]:
    return digest_of(run.config.params), run.config.seed, digest_of(run.config.budget)


def _budget(trial: Trial, selection: Selection) -> dict[str, int]:
    short = selection.short_budget
    return short if trial.stage == 1 and short is not None else selection.budget


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
