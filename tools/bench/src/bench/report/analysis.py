"""From records to results: who ran, how they compare with the reference on equal seeds, what is wrong with it."""

from collections.abc import Iterable

from bench.methods.method import split_entry
from bench.methods.table import METHODS, REFERENCE, reference_of, title
from bench.records.models import Family, Record, Run, Selection, Session, digest_of
from bench.report.flags import flags_of_entry
from bench.report.results import EntryResult, WorkloadResult
from bench.report.statistics import Paired, Verdict, holm, paired, verdict
from bench.workloads.table import WORKLOADS


def analyse(records: Iterable[Record]) -> list[WorkloadResult]:
    """Results in the order in which tuning ended."""
    records = list(records)
    runs = [record for record in records if isinstance(record, Run)]
    groups: dict[tuple[str, str, Family], list[Selection]] = {}
    for record in records:
        if isinstance(record, Selection):
            groups.setdefault((record.profile, record.workload, record.family), []).append(record)
    return [_workload(selections, runs) for selections in groups.values()]


def _workload(selections: list[Selection], runs: list[Run]) -> WorkloadResult:
    first = selections[0]
    here = [
        run
        for run in runs
        if run.config.workload == first.workload
        and run.config.family == first.family
        and run.config.budget == first.budget
    ]
    entries = [
        _entry(selection, [run for run in here if run.config.entry == selection.entry]) for selection in selections
    ]
    entries = sorted((entry for entry in entries if entry.finals), key=lambda entry: table_order(entry.entry))
    known = WORKLOADS.get(first.workload)
    targets = {selection.target for selection in selections}
    result = WorkloadResult(
        first.profile,
        first.workload,
        first.family,
        (known.title if known else first.workload) + (" (evolution)" if first.family == "es" else ""),
        known.question if known else "",
        first.metric,
        first.better,
        next(iter(targets)) if len(targets) == 1 else None,
        REFERENCE[first.family],
        entries,
    )
    _compare(result)
    for entry in result.entries:
        entry.flags = flags_of_entry(entry, result)
    return result


def is_reference(entry: str) -> bool:
    """Whether an entry is a reference, with or without the common schedule."""
    return split_entry(entry)[0] in REFERENCE.values()


def is_ours(entry: str) -> bool:
    """Whether an entry is a method of ours."""
    return METHODS[split_entry(entry)[0]].ours


def table_order(entry: str) -> tuple[bool, bool]:
    """Sorts the entries of a table: the references first, then ours, then the others."""
    return not is_reference(entry), not is_ours(entry)


def families(results: list[WorkloadResult]) -> list[tuple[Family, list[WorkloadResult], list[str]]]:
    """Each family that was run, its results, and its entries in the order of a table."""
    found: dict[Family, list[WorkloadResult]] = {
        family: [result for result in results if result.family == family] for family in REFERENCE
    }
    return [
        (
            family,
            some,
            sorted(dict.fromkeys(entry.entry for result in some for entry in result.entries), key=table_order),
        )
        for family, some in found.items()
        if some
    ]


def shared_flags(result: WorkloadResult) -> list[str]:
    """Flags that every entry of a result carries, to be said once."""
    return [flag for flag in result.entries[0].flags if all(flag in entry.flags for entry in result.entries)]


def _entry(selection: Selection, runs: list[Run]) -> EntryResult:
    chosen, untuned = digest_of(selection.chosen), digest_of(selection.untuned)

    def of(setting: str, seeds: list[int]) -> dict[int, Run]:
        found = {run.config.seed: run for run in runs if digest_of(run.config.params) == setting}
        return {seed: found[seed] for seed in seeds if seed in found and _judged(found[seed])}

    return EntryResult(
        entry=selection.entry,
        title=title(selection.entry),
        ours=is_ours(selection.entry),
        selection=selection,
        finals=of(chosen, selection.final_seeds),
        untuned=of(untuned, selection.untuned_seeds),
        tuning=[run for run in runs if run.config.seed in selection.tuning_seeds],
    )


def _judged(run: Run) -> bool:
    return run.test is not None or run.status == "diverged"


def differences(entry: EntryResult, other: EntryResult, better: str) -> list[float]:
    """Test metric minus the reference's on equal seeds, positive where the entry is better."""
    sign = 1 if better == "higher" else -1
    found: list[float] = []
    for seed, run in entry.finals.items():
        mine, theirs = run.test, other.finals[seed].test if seed in other.finals else None
        if mine is not None and theirs is not None:
            found.append(sign * (mine - theirs))
    return found


def _compare(result: WorkloadResult) -> None:
    """Pair every entry with its reference and correct for the number of entries on this workload."""
    present = {entry.entry for entry in result.entries}
    compared: list[EntryResult] = []
    for entry in result.entries:
        entry.against = reference_of(entry.entry, result.family, present)
        reference = result.entry(entry.against)
        if reference is None or reference is entry:
            continue
        entry.comparison = paired(differences(entry, reference, result.better))
        compared.append(entry)
    adjusted = holm([1.0 if entry.comparison is None else entry.comparison.p for entry in compared])
    for entry, p in zip(compared, adjusted, strict=True):
        entry.adjusted_p = p
        entry.verdict = verdict_of(entry, result.entry(entry.against) or entry, entry.comparison, p)


def verdict_of(entry: EntryResult, reference: EntryResult, comparison: Paired | None, adjusted_p: float) -> Verdict:
    """What the intervals say, unless more final seeds diverged than the reference's: that is worse."""
    return "worse" if entry.diverged() > reference.diverged() else verdict(comparison, adjusted_p)


def sessions(records: Iterable[Record]) -> list[Session]:
    """The sessions that made the records."""
    return [record for record in records if isinstance(record, Session)]
