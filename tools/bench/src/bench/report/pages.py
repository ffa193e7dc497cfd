"""The evidence as Markdown: a page of the docs, a table in the README of each package, one in the workspace's."""

from bench.methods.table import title
from bench.report.analysis import families, shared_flags
from bench.report.claims import judge_all
from bench.report.flags import MEANING
from bench.report.results import EntryResult, WorkloadResult
from bench.report.sentences import sentences
from bench.report.tables import average, effort, interval, number, reached, spread

PACKAGES = {
    "thermolion": "thermolion",
    "pulseopt": "aees-adamw",
    "adaptive-optimizer": "adaptive-adamw",
    "ranger-lite": "rangerlite",
    "torcheggroll": "torcheggroll",
}
HEAD = """# Evidence

This page is generated from the records in `docs/records/bench` by `bench publish`; a test holds them equal. How the
comparison is made, and what each word means: [Benchmarks](benchmarks.md).
"""


def row(cells: list[str]) -> str:
    """One line of a table."""
    return "| " + " | ".join(cells) + " |"


def table(head: list[str], rows: list[list[str]], words: int = 1) -> list[str]:
    """A table; the first ``words`` columns are text, and so begin on the left."""
    return [row(head), row(["---"] * words + ["---:"] * (len(head) - words)), *map(row, rows)]


def overview(results: list[WorkloadResult], entries: list[str]) -> list[str]:
    """Arms down, workloads across: mean test metric and verdict."""
    results = [result for result in results if any(result.entry(entry) for entry in entries)]
    head = ["method", *(f"{result.title}: {result.metric}, {result.better} is better" for result in results)]
    rows = [[title(entry), *(_cell(result, result.entry(entry)) for result in results)] for entry in entries]
    return table(head, [cells for cells in rows if any(cells[1:])])


def _cell(result: WorkloadResult, entry: EntryResult | None) -> str:
    if entry is None:
        return ""
    if entry.comparison is None:
        return average(entry.mean()) + (" (reference)" if entry.entry == result.reference else "")
    return f"{average(entry.mean())} ({_verdict(result, entry)})"


def _verdict(result: WorkloadResult, entry: EntryResult) -> str:
    """``better``, and than whom if that is not the reference of the table."""
    return entry.verdict if entry.against == result.reference else f"{entry.verdict} against {title(entry.against)}"


def of_package(package: str, results: list[WorkloadResult]) -> list[str]:
    """The README's section on one method: protocol in a sentence, its table, its promise."""
    entry = PACKAGES[package]
    pairs = [(result, mine) for result in results if (mine := result.entry(entry)) is not None and mine.comparison]
    if not pairs:
        return ["No records yet."]
    span = ", ".join(map(str, sorted({len(mine.finals) for _, mine in pairs})))
    against = title(pairs[0][1].against)
    rows = [
        [result.title, result.metric, spread(mine), spread(other), interval(mine.comparison), mine.verdict]
        for result, mine in pairs
        if (other := result.entry(mine.against)) is not None
    ]
    claim = next(outcome for outcome in judge_all(results) if outcome.claim.entry == entry)
    return [
        f"Profile `{pairs[0][0].profile}` of the workspace's bench: {span} seeds, {against} tuned",
        "with the same number of trials. Differences are positive where the method is better; a tie is an interval",
        "that contains zero after Holm's correction.",
        "",
        *table(["task", "metric", title(entry), against, "difference [95 %]", "verdict"], rows, 2),
        "",
        f"The promise: {claim.claim.text}. On {claim.place}: **{claim.result}**,",
        f"{claim.detail}.",
    ]


def evidence(results: list[WorkloadResult]) -> str:
    """The page of the docs."""
    claims = [[o.title, o.claim.text, o.place, f"**{o.result}**", o.detail] for o in judge_all(results)]
    lines = [HEAD, *(f"- {sentence}" for sentence in sentences(results)), ""]
    lines += ["## What was promised, and whether it held", ""]
    lines += [*table(["method", "promise", "can fail on", "outcome", "measured"], claims, 5), ""]
    for family, of_family, entries in families(results):
        heading = "All methods with a gradient" if family == "gradient" else "All methods without one"
        lines += [f"## {heading}", "", *overview(of_family, entries), ""]
    if any(result.target is not None and result.family == "gradient" for result in results):
        lines += ["## Time to target", "", "Share of runs that reach the target within τ times the steps of the", ""]
        lines[-2] += " fastest method, all gradient tasks together."
        lines += ["![performance profile](_static/bench/all-profile.svg)", ""]
    for result in results:
        lines += _section(result)
    used = [flag for flag in MEANING if any(flag in entry.flags for result in results for entry in result.entries)]
    if used:
        lines += ["## Flags", "", *(f"- *{flag}*: {MEANING[flag]}." for flag in used), ""]
    return "\n".join(lines)


def _section(result: WorkloadResult) -> list[str]:
    against, shared = title(result.reference), shared_flags(result)
    head = ["method", f"test {result.metric}", "untuned", f"difference to {against} [95 %]", "p (Holm)"]
    head += ["verdict", "reached", "median steps", "CPU s", "flags"]
    rows = [
        [
            f"**{entry.title}**" if entry.ours else entry.title,
            spread(entry),
            average(entry.untuned_mean()),
            interval(entry.comparison),
            f"{entry.adjusted_p:.2g}" if entry.comparison else "–",
            _verdict(result, entry) if entry.comparison else "reference",
            reached(entry) if result.target is not None else "–",
            number(entry.median_steps()),
            number(entry.cost("train_cpu"), 2),
            ", ".join(flag for flag in entry.flags if flag not in shared),
        ]
        for entry in result.entries
    ]
    target = f" Target on validation: {number(result.target)}." if result.target is not None else ""
    lines = [f"## {result.title}", ""]
    lines += [f"{result.question} {result.metric}, {result.better} is better.{target} A run: {effort(result)}.", ""]
    if any(entry.comparison for entry in result.entries):
        lines += [f"![paired differences](_static/bench/{result.name}-forest.svg)", ""]
    if shared:
        lines += [f"All of them: *{', '.join(shared)}* (see [flags](#flags)).", ""]
    return [*lines, *table(head, rows), ""]
