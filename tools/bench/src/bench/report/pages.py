"""The evidence as Markdown: a page of the docs, a table in the README of each package, one in the workspace's."""

from bench.methods.table import title
from bench.report.analysis import ArmResult, WorkloadResult, families, shared_flags
from bench.report.claims import judge_all
from bench.report.flags import MEANING
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


def overview(results: list[WorkloadResult], arms: list[str]) -> list[str]:
    """Arms down, workloads across: mean test metric and verdict."""
    results = [result for result in results if any(result.arm(arm) for arm in arms)]
    head = ["method", *(f"{result.title}: {result.metric}, {result.better} is better" for result in results)]
    rows = [[title(arm), *(_cell(result, result.arm(arm)) for result in results)] for arm in arms]
    return table(head, [cells for cells in rows if any(cells[1:])])


def _cell(result: WorkloadResult, arm: ArmResult | None) -> str:
    if arm is None:
        return ""
    if arm.comparison is None:
        return average(arm.mean()) + (" (reference)" if arm.arm == result.reference else "")
    return f"{average(arm.mean())} ({_verdict(result, arm)})"


def _verdict(result: WorkloadResult, arm: ArmResult) -> str:
    """``better``, and than whom if that is not the reference of the table."""
    return arm.verdict if arm.against == result.reference else f"{arm.verdict} against {title(arm.against)}"


def of_package(package: str, results: list[WorkloadResult]) -> list[str]:
    """The README's section on one method: protocol in a sentence, its table, its promise."""
    arm = PACKAGES[package]
    pairs = [(result, mine) for result in results if (mine := result.arm(arm)) is not None and mine.comparison]
    if not pairs:
        return ["No records yet."]
    span = ", ".join(map(str, sorted({len(mine.finals) for _, mine in pairs})))
    against = title(pairs[0][1].against)
    rows = [
        [result.title, result.metric, spread(mine), spread(other), interval(mine.comparison), mine.verdict]
        for result, mine in pairs
        if (other := result.arm(mine.against)) is not None
    ]
    claim = next(outcome for outcome in judge_all(results) if outcome.claim.arm == arm)
    return [
        f"Profile `{pairs[0][0].profile}` of the workspace's bench: {span} seeds, {against} tuned",
        "with the same number of trials. Differences are positive where the method is better; a tie is an interval",
        "that contains zero after Holm's correction.",
        "",
        *table(["task", "metric", title(arm), against, "difference [95 %]", "verdict"], rows, 2),
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
    for family, of_family, arms in families(results):
        heading = "All methods with a gradient" if family == "gradient" else "All methods without one"
        lines += [f"## {heading}", "", *overview(of_family, arms), ""]
    if any(result.target is not None and result.family == "gradient" for result in results):
        lines += ["## Time to target", "", "Share of runs that reach the target within τ times the steps of the", ""]
        lines[-2] += " fastest method, all gradient tasks together."
        lines += ["![performance profile](_static/bench/all-profile.svg)", ""]
    for result in results:
        lines += _section(result)
    used = [flag for flag in MEANING if any(flag in arm.flags for result in results for arm in result.arms)]
    if used:
        lines += ["## Flags", "", *(f"- *{flag}*: {MEANING[flag]}." for flag in used), ""]
    return "\n".join(lines)


def _section(result: WorkloadResult) -> list[str]:
    against, shared = title(result.reference), shared_flags(result)
    head = ["method", f"test {result.metric}", "untuned", f"difference to {against} [95 %]", "p (Holm)"]
    head += ["verdict", "reached", "median steps", "CPU s", "flags"]
    rows = [
        [
            f"**{arm.title}**" if arm.ours else arm.title,
            spread(arm),
            average(arm.untuned_mean()),
            interval(arm.comparison),
            f"{arm.adjusted_p:.2g}" if arm.comparison else "–",
            _verdict(result, arm) if arm.comparison else "reference",
            reached(arm) if result.target is not None else "–",
            number(arm.median_steps()),
            number(arm.cost("train_cpu"), 2),
            ", ".join(flag for flag in arm.flags if flag not in shared),
        ]
        for arm in result.arms
    ]
    target = f" Target on validation: {number(result.target)}." if result.target is not None else ""
    lines = [f"## {result.title}", ""]
    lines += [f"{result.question} {result.metric}, {result.better} is better.{target} A run: {effort(result)}.", ""]
    if any(arm.comparison for arm in result.arms):
        lines += [f"![paired differences](_static/bench/{result.name}-forest.svg)", ""]
    if shared:
        lines += [f"All of them: *{', '.join(shared)}* (see [flags](#flags)).", ""]
    return [*lines, *table(head, rows), ""]
