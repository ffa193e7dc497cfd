"""From records to results: the entries, their comparison with the reference on equal seeds, and flags.

The reference of a workload is AdamW under the best of its schedules; its tuning runs fix the target of everyone.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from bench.methods.table import METHODS, REFERENCE, SECOND_REFERENCE, title
from bench.protocol.search import rate_times
from bench.records.models import PROTOCOL, Family, Record, Run, Selection, Session, digest_of
from bench.report.flags import flags_of_entry
from bench.report.results import EntryResult, WorkloadResult, differences, value_after
from bench.report.statistics import Paired, Rank, Verdict, average_ranks, holm, paired, verdict
from bench.workloads.table import WORKLOADS

TARGET = 0.7  # the share of a run after which the baseline's validation is the target


def analyse(records: Iterable[Record]) -> list[WorkloadResult]:
    """Returns results in the order in which tuning ended.

    Raises:
        ValueError: some records are of another protocol, or one workload was searched under two rules.
    """
    records = list(records)
    runs = [record for record in records if isinstance(record, Run)]
    groups: dict[tuple[str, str, Family], list[Selection]] = {}
    for record in records:
        if isinstance(record, Selection):
            groups.setdefault((record.profile, record.workload, record.family), []).append(record)
    others = {run.config.protocol for run in runs} - {PROTOCOL}
    if others:
        raise ValueError(
            f"records must be of protocol {PROTOCOL}, got some of {sorted(others)}: read them with its bench"
        )
    for (_, workload, _), selections in groups.items():
        if len({selection.documented for selection in selections}) > 1:
            raise ValueError(
                f"{workload} must be searched under one rule, got selections with and without the documented setting "
                "in stage 2: judge it again as a whole, on fresh seeds"
            )
    results = [_workload(selections, runs) for selections in groups.values()]
    _correct(results)
    return results


def _workload(selections: list[Selection], runs: list[Run]) -> WorkloadResult:
    first = selections[0]
    here = [run for run in runs if run.config.workload == first.workload and run.config.family == first.family]
    entries = [
        _entry(selection, [run for run in here if run.config.entry == selection.entry]) for selection in selections
    ]
    complete = all({*entry.finals} == {*entry.selection.final_seeds} for entry in entries)
    entries = sorted((entry for entry in entries if entry.finals), key=lambda entry: table_order(entry.entry))
    known = WORKLOADS.get(first.workload)
    margin = first.margin if first.margin is not None else known.margin if known else 0.0
    result = WorkloadResult(
        profile=first.profile,
        workload=first.workload,
        family=first.family,
        title=(known.title if known else first.workload) + (" (evolution)" if first.family == "es" else ""),
        question=known.question if known else "",
        metric=first.metric,
        better=first.better,
        target=None,
        margin=margin,
        reference=REFERENCE[first.family],
        entries=entries,
        complete=complete,
    )
    baseline = result.entry(result.reference)
    result.target = target_of(baseline) if baseline else None
    for entry in entries:
        entry.target = result.target
        entry.against = against_of(entry, result)
        reference = result.entry(entry.against)
        if reference is not None and reference is not entry:
            entry.comparison = paired(differences(entry.finals, reference.finals, result.sign))
        entry.flags = flags_of_entry(entry, result)
    return result


def target_of(baseline: EntryResult) -> float | None:
    """Returns the validation value that counts as reached, from the baseline's tuning alone; None without stage 2.

    It is the median over the tuning seeds of what the baseline's chosen setting has reached after 70 % of a run, to
    three digits.
    """
    chosen, budget = baseline.selection.chosen, baseline.selection.budget
    runs = [run for run in baseline.tuning if run.config.params == chosen and run.config.budget == budget]
    values = [value_after(TARGET, run.curve) for run in runs if run.curve.value]
    return float(f"{np.median(values):.3g}") if values else None


def against_of(entry: EntryResult, result: WorkloadResult) -> str:
    """Returns what an entry is compared with: an ablation with the whole method, everyone else with the reference."""
    follows = entry.selection.follows
    return follows if follows is not None and result.entry(follows) is not None else result.reference


def _correct(results: list[WorkloadResult]) -> None:
    """Holm's correction over every comparison of the report, workloads together; then the verdicts."""
    compared = [(result, entry) for result in results for entry in result.entries if entry.comparison is not None]
    adjusted = holm([entry.comparison.p for _, entry in compared if entry.comparison is not None])
    for (_, entry), p in zip(compared, adjusted, strict=True):
        entry.adjusted_p = p
    for result in results:
        for entry in result.entries:
            reference = result.entry(entry.against) or entry
            entry.verdict = verdict_of(entry, reference, entry.comparison, entry.adjusted_p, result.margin)


def verdict_of(
    entry: EntryResult, reference: EntryResult, comparison: Paired | None, adjusted_p: float, margin: float
) -> Verdict:
    """Returns what the intervals say, unless more final seeds diverged than the reference's: that is worse."""
    return "worse" if entry.diverged() > reference.diverged() else verdict(comparison, adjusted_p, margin)


def _entry(selection: Selection, runs: list[Run]) -> EntryResult:
    chosen, untuned = digest_of(selection.chosen), digest_of(selection.untuned)
    long = [run for run in runs if run.config.budget == selection.budget]

    def of(setting: str, seeds: list[int]) -> dict[int, Run]:
        found = {run.config.seed: run for run in long if digest_of(run.config.params) == setting}
        return {seed: found[seed] for seed in seeds if seed in found and _judged(found[seed])}

    return EntryResult(
        entry=selection.entry,
        title=title(selection.entry),
        ours=is_ours(selection.entry),
        selection=selection,
        finals=of(chosen, selection.final_seeds),
        untuned=of(untuned, selection.untuned_seeds),
        tuning=[run for run in runs if run.config.seed in selection.tuning_seeds],
        rates=_rates(selection, long),
        fresh=_fresh(selection, long),
    )


def _rates(selection: Selection, runs: list[Run]) -> dict[float, list[Run]]:
    """Returns the runs at multiples of the chosen rate, by rate."""
    rest = {name: value for name, value in selection.chosen.items() if name != "lr"}
    found: dict[float, list[Run]] = {}
    for factor in selection.rates or []:
        lr = rate_times(selection.chosen, factor)
        setting = digest_of({**rest, "lr": lr})
        seeds = set(selection.rate_seeds or [])
        some = [run for run in runs if run.config.seed in seeds and digest_of(run.config.params) == setting]
        if some:
            found[lr] = some
    return found


def _fresh(selection: Selection, runs: list[Run]) -> dict[float, dict[int, Run]]:
    """Returns the runs on the fresh seeds, by rate and seed."""
    found: dict[float, dict[int, Run]] = {}
    for run in runs:
        same = {**run.config.params, "lr": 0} == {**selection.chosen, "lr": 0}
        if same and run.config.seed in (selection.fresh_seeds or []) and _judged(run):
            found.setdefault(float(run.config.params["lr"]), {})[run.config.seed] = run
    return found


def _judged(run: Run) -> bool:
    return run.test is not None or run.status == "diverged"


def is_reference(entry: str) -> bool:
    """Returns whether an entry is a reference, the second one included."""
    return entry in (*REFERENCE.values(), SECOND_REFERENCE)


def is_ours(entry: str) -> bool:
    """Returns whether an entry is a method of ours."""
    return METHODS[entry].ours


def is_ablation(entry: str) -> bool:
    """Returns whether an entry is a method without a part of its own."""
    return bool(METHODS[entry].ablates)


def table_order(entry: str) -> tuple[bool, bool, bool]:
    """Sorts the entries of a table: the references first, then ours, the others, the ablations."""
    return is_ablation(entry), not is_reference(entry), not is_ours(entry)


def families(results: list[WorkloadResult]) -> list[tuple[Family, list[WorkloadResult], list[str]]]:
    """Returns each family that was run, its results, and its entries in the order of a table."""
    found: dict[Family, list[WorkloadResult]] = {
        family: [result for result in results if result.family == family] for family in REFERENCE
    }
    return [(family, some, entries_in(some)) for family, some in found.items() if some]


def entries_in(results: list[WorkloadResult]) -> list[str]:
    """Returns all entries of some results in the order of a table."""
    return sorted(dict.fromkeys(entry.entry for result in results for entry in result.entries), key=table_order)


def widely_compared(results: list[WorkloadResult]) -> list[WorkloadResult]:
    """Returns the workloads on which at least half as many methods ran as on the one with the most."""
    counts = [sum(not is_ablation(entry.entry) for entry in result.entries) for result in results]
    most = max(counts, default=0)
    return [result for result, count in zip(results, counts, strict=True) if 2 * count >= most]


def ranks(results: list[WorkloadResult]) -> dict[str, Rank]:
    """Returns the average rank of the entries that ran with all seeds on every workload of `widely_compared`.

    Empty where there is one workload: an average needs two.
    """
    results = widely_compared(results)
    common = [name for name in entries_in(results) if not is_ablation(name) and all(_whole(r, name) for r in results)]
    if len(common) < 2 or len(results) < 2:
        return {}
    scores = [
        np.array([[result.sign * value for value in _tests(result, name)] for name in common]) for result in results
    ]
    return dict(zip(common, average_ranks(scores), strict=True))


def _tests(result: WorkloadResult, name: str) -> list[float]:
    """Returns one value a seed; a divergence is minus infinity's stand-in, the worst of the workload."""
    worst = min(result.sign * value for entry in result.entries for value in entry.tests())
    entry = result.entry(name)
    runs: list[Run] = [*entry.finals.values()] if entry else []
    return [result.sign * worst if run.test is None else run.test for run in runs]


def _whole(result: WorkloadResult, name: str) -> bool:
    entry, reference = result.entry(name), result.entry(result.reference)
    return entry is not None and reference is not None and [*entry.finals] == [*reference.finals] and bool(entry.finals)


def shared_flags(result: WorkloadResult) -> list[str]:
    """Returns the flags that every entry of a result carries, to be said once."""
    return [flag for flag in result.entries[0].flags if all(flag in entry.flags for entry in result.entries)]


def sessions(records: Iterable[Record]) -> list[Session]:
    """Returns the sessions that made the records."""
    return [record for record in records if isinstance(record, Session)]


def cpu_ratio(one: Mapping[int, Run], other: Mapping[int, Run]) -> float:
    """Returns the median over seeds of one's CPU seconds of training over the other's."""
    ratios = [run.cost.train_cpu / other[seed].cost.train_cpu for seed, run in one.items() if seed in other]
    return float(np.median(ratios)) if ratios else math.nan
