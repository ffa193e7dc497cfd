"""The answer to a user's task: whether to switch from AdamW, and to which setting."""

from bench.methods.table import title
from bench.report.results import EntryResult, WorkloadResult
from bench.report.statistics import ENOUGH_PAIRS
from bench.report.tables import average, interval, number, setting

ADVISED = "compare"  # the profile whose report begins with the answer


def advice(results: list[WorkloadResult]) -> list[str]:
    """Returns the answer in a few sentences, the first of which says yes or no; nothing for other profiles."""
    return [line for result in results if result.profile == ADVISED for line in advice_on(result)]


def advice_on(result: WorkloadResult) -> list[str]:
    """Returns the answer for one task."""
    reference = result.entry(result.reference)
    if reference is None:
        return []
    compared = [entry for entry in result.entries if entry.comparison is not None]
    better = [entry for entry in compared if entry.verdict == "better"]
    best = max(better or compared or [reference], key=lambda entry: entry.comparison.mean if entry.comparison else 0.0)
    switch = best if better else reference
    lines = [_answer(result, reference, best, bool(better)), f"Set {switch.title} to {setting(switch)}."]
    lines += [line for line in (_sensitivity(result, reference, switch), _tuning(result, reference)) if line]
    if len(reference.finals) < ENOUGH_PAIRS:
        lines.append(
            f"Fewer than {ENOUGH_PAIRS} seeds decide nothing: run it again with --seeds {ENOUGH_PAIRS} or more."
        )
    return lines


def _answer(result: WorkloadResult, reference: EntryResult, best: EntryResult, shown: bool) -> str:
    question, old, found = "Should you switch from AdamW?", title(result.reference), best.comparison
    if found is None:
        return f"{question} Nothing else was run to its end."
    measured = f"{result.metric} {average(best.mean())} against {average(reference.mean())}, {result.better} is better"
    measured += f"; difference {interval(found)}, positive is better, on {found.n} equal seeds"
    if shown:
        return f"{question} Yes, to {best.title}: {measured}. Both were tuned alike."
    if all(entry.verdict in ("worse", "equivalent") for entry in result.entries if entry.comparison):
        return (
            f"{question} No: nothing is better than {old} by more than the margin of {result.margin:g}. "
            f"Closest is {best.title}: {measured}."
        )
    return (
        f"{question} Not on this evidence: nothing is shown to be better than {old}. "
        f"Closest is {best.title}: {measured}. "
        f"Differences below {number(found.detectable, 2)} cannot be seen with {found.n} seeds."
    )


def _sensitivity(result: WorkloadResult, reference: EntryResult, switch: EntryResult) -> str:
    parts = [text for entry in dict.fromkeys((switch.entry, reference.entry)) if (text := _width(result.entry(entry)))]
    return f"Learning rate: {'; '.join(parts)}." if parts else ""


def _width(entry: EntryResult | None) -> str:
    """Returns within which rates an entry stays within 1 % of its best."""
    width = entry.good_decades() if entry is not None else None
    if entry is None or width is None:
        return ""
    return f"{entry.title} stays within 1 % of its best over a factor of {10**width:.2g}"


def _tuning(result: WorkloadResult, reference: EntryResult) -> str:
    untuned, tuned = reference.untuned_mean(), reference.mean()
    if untuned is None or tuned is None:
        return ""
    return (
        f"{reference.title} at its recommended setting ({_recommended(reference)}) gives {average(untuned)}; tuned "
        f"({setting(reference)}) it gives {average(tuned)}."
    )


def _recommended(entry: EntryResult) -> str:
    return ", ".join(f"{name} {value}" for name, value in entry.selection.untuned.items())
