"""The evidence as Markdown: a page of the docs, a table in the README of each package, one in the workspace's."""

from bench.methods.table import METHODS, entries_of, title
from bench.protocol.profiles import PROFILES
from bench.records.models import Family
from bench.report.analysis import entries_in, families, is_ablation, is_ours, ranks, shared_flags
from bench.report.claims import Outcome, judge_all, latest, withdrawn
from bench.report.flags import MEANING
from bench.report.results import EntryResult, WorkloadResult, at_equal_cpu
from bench.report.sentences import standing
from bench.report.tables import average, effort, interval, number, reached, setting, spread, validation
from bench.workloads.table import WORKLOADS

PACKAGES = {
    "thermolion": "thermolion",
    "pulseopt": "aees-adamw",
    "adaptive-optimizer": "adaptive-adamw",
    "ranger-lite": "rangerlite",
    "torcheggroll": "torcheggroll-r4",
}
HEAD = """# Evidence

This page is generated from the records in `docs/records/bench` by `bench publish`; a test holds them equal. How the
comparison is made, what each word means, and why ThermoLion was searched twice: [Benchmarks](benchmarks.md).
"""
READING = """## How to read the figures

Paired differences: a dot is one seed, on which both methods start from the same weights and see the same batches; the
thick line is the bootstrap interval of the mean, the thin one the t interval, the shaded strip the margin. Learning
curves: one line per seed; the dotted line is the target. Curves over the rate: the mean at the chosen setting with
other rates; the ring is the chosen one.
"""
OPEN = "Not complete yet, no verdict: "
ORDER = ("shown", "not shown", "refuted", "not measured")


def row(cells: list[str]) -> str:
    """One line of a table."""
    return "| " + " | ".join(cells) + " |"


def table(head: list[str], rows: list[list[str]], words: int = 1) -> list[str]:
    """A table; the first ``words`` columns are text, and so begin on the left."""
    return [row(head), row(["---"] * words + ["---:"] * (len(head) - words)), *map(row, rows)]


def overview(results: list[WorkloadResult], entries: list[str]) -> list[str]:
    """Returns entries down, workloads across: mean test metric and verdict, and the average rank."""
    results = [result for result in results if any(result.entry(entry) for entry in entries)]
    found = ranks(results)
    head = ["method", *(f"{result.title}: {result.metric}, {result.better} is better" for result in results)]
    rows = [[title(entry), *(_cell(result, result.entry(entry)) for result in results)] for entry in entries]
    rows = [cells for cells in rows if any(cells[1:])]
    cautions = [f"{result.title}: {caution}" for result in results if (caution := cautioned(result))]
    after = [line for caution in cautions for line in ("", caution)]
    if not found:
        return [*table(head, rows), *after]
    shown = {title(name): f"{rank.mean:.1f} [{rank.low:.1f}, {rank.high:.1f}]" for name, rank in found.items()}
    return table([*head, "average rank [95 %]"], [[*cells, shown.get(cells[0], "")] for cells in rows]) + after


def _cell(result: WorkloadResult, entry: EntryResult | None) -> str:
    if entry is None:
        return ""
    if entry.comparison is None:
        return average(entry.mean()) + (" (reference)" if entry.entry == result.reference else "")
    return f"{average(entry.mean())} ({_verdict(result, entry)})"


def _verdict(result: WorkloadResult, entry: EntryResult) -> str:
    """``better``, and than what if that is not the reference of the table."""
    than = {"better": "than", "worse": "than", "equivalent": "to"}.get(entry.verdict, "against")
    return entry.verdict if entry.against == result.reference else f"{entry.verdict} {than} {title(entry.against)}"


def of_package(package: str, results: list[WorkloadResult]) -> list[str]:
    """Returns the README's section on one package: its table, where to start, its claim."""
    names = [name for name in entries_in(results) if METHODS[name].package == package and is_ours(name)]
    pairs = [
        (result, mine)
        for result in results
        for name in names
        if (mine := result.entry(name)) is not None and mine.comparison is not None
    ]
    outcomes = [found for found in judge_all(results) if METHODS[found.claim.entry].package == package]
    kept = [o for o in latest(outcomes) if o.claim not in withdrawn(outcomes)]
    claims = [f"Claim: {o.claim.text} On {o.where}, {o.seeds} seeds: **{o.result}**, {o.detail}." for o in kept]
    last = [*_spaced(claims)[:-1], *unfinished(results, METHODS[PACKAGES[package]].family)]
    if not pairs:
        return last
    rows = [
        [
            *(result.place(mine), mine.title, result.metric, spread(mine), spread(other), title(mine.against)),
            *(interval(mine.comparison), mine.verdict),
        ]
        for result, mine in pairs
        if (other := result.entry(mine.against)) is not None
    ]
    head = ["task", "method", "metric", "its result", "the reference's", "reference", "difference [95 %]", "verdict"]
    lines = [
        f"Profile `{pairs[0][0].profile}` of the workspace's bench, against the best AdamW of each task (evolution:",
        "dense OpenAI-ES), all tuned equally. Differences are positive where the method is better. *Equivalent*:",
        "the interval lies inside the task's margin. *Undecided*: these seeds do not decide.",
        "",
        *table(head, rows, 3),
        "",
    ]
    lines += _spaced([f"{result.title}: {caution}" for result, _ in pairs if (caution := cautioned(result))])
    starts = [f"{result.title}: {setting(mine)}" for result, mine in pairs]
    lines += ["Start here, with the settings that the search chose: " + "; ".join(starts) + ".", ""]
    return [*lines, *last]


def cautioned(result: WorkloadResult) -> str:
    """Returns what to bear in mind where short runs of stage 1 misled the search; nothing elsewhere."""
    if not result.misled:
        return ""
    names = ", ".join(result.misled)
    return (
        f"short runs misled the search of {names}: they would have dropped the documented setting, which was the best "
        "at full length. Verdicts that rest on it are about the documented setting, not a tuned one."
    )


def _spaced(paragraphs: list[str]) -> list[str]:
    return [line for paragraph in paragraphs for line in (paragraph, "")]


def unfinished(results: list[WorkloadResult], family: Family | None = None) -> list[str]:
    """Returns a paragraph on the studies of the profile that the results lack; nothing where they lack none."""
    profile = PROFILES[results[0].profile if results else "full"]
    there = {(result.workload, result.family) for result in results}
    missing = [
        WORKLOADS[name].title + (" (evolution)" if one == "es" else "")
        for name in profile.workloads
        for one in WORKLOADS[name].budgets[profile.name]
        if (name, one) not in there and family in (None, one)
    ]
    lacking = [f"{result.title}: {', '.join(names)}" for result in results if (names := _not_run(result, family))]
    lines = ["", OPEN + ", ".join(missing) + "."] if missing else []
    return [*lines, "", f"Methods not run yet: {'; '.join(lacking)}."] if lacking else lines


def _not_run(result: WorkloadResult, family: Family | None) -> list[str]:
    """Returns the methods that the profile means to run on a workload, and that need nothing more to be installed."""
    if result.workload not in WORKLOADS or family not in (None, result.family):
        return []
    profile = PROFILES[result.profile]
    rows = profile.fewer.get(result.workload) or profile.methods
    planned = entries_of(WORKLOADS[result.workload], result.family, set(rows) if rows else None, ablations=False)
    return [title(name) for name in planned if not METHODS[name].needs and result.entry(name) is None]


def _bullet(package: str, entry: str, outcomes: list[Outcome], results: list[WorkloadResult]) -> str:
    """Returns what a method claims, whether it held, and how it compares with the reference on every workload."""
    mine = [outcome for outcome in outcomes if METHODS[outcome.claim.entry].package == package]
    kept = [outcome for outcome in latest(mine) if outcome.claim not in withdrawn(mine)]
    kept.sort(key=lambda outcome: ORDER.index(outcome.result))
    places: dict[tuple[str, str], list[str]] = {}
    for outcome in kept:
        places.setdefault((outcome.claim.text, outcome.result), []).append(outcome.where)
    claims = [f"{text} **{result.capitalize()}** on {' and '.join(where)}." for (text, result), where in places.items()]
    found = standing(entry, results)
    return " ".join([f"- **{title(entry)}**.", *claims, f"{found[:1].upper()}{found[1:]}"]).rstrip()


def evidence(results: list[WorkloadResult]) -> str:
    """Returns the page of the docs."""
    outcomes = judge_all(results)
    verdicts = [_bullet(package, entry, outcomes, results) for package, entry in PACKAGES.items()]
    pictures = [
        f"![{result.title}, every learning rate](_static/bench/{result.name}-rates.svg)"
        for result in results
        if _has_rates(result)
    ]
    # The site's first page includes what stands between these marks.
    lines = [HEAD, "<!-- verdicts -->", "", *verdicts, *(["", pictures[0]] if pictures else [])]
    lines += [*unfinished(results), "", "<!-- /verdicts -->", ""]
    failed = withdrawn(outcomes)
    claims = [
        [o.title, o.claim.text, f"{o.where}, {o.seeds} seeds", _outcome(o, o.claim in failed), o.detail]
        for o in outcomes
    ]
    lines += ["## What is claimed, and whether it held", ""]
    lines += [*table(["method", "claim", "can fail on", "outcome", "measured"], claims, 5), ""]
    for family, of_family, entries in families(results):
        heading = "All methods with a gradient" if family == "gradient" else "All methods without one"
        shown = [entry for entry in entries if not is_ablation(entry)]
        lines += [f"## {heading}", "", *overview(of_family, shown), ""]
        if ranks(of_family):
            lines += [f"![average rank](_static/bench/{family}-ranks.svg)", ""]
    lines += _robustness(results)
    if any(result.target is not None and result.family == "gradient" for result in results):
        lines += ["## Time to target", "", "Share of runs that reach the target within τ times the steps of the", ""]
        lines[-2] += " fastest method, all gradient tasks together."
        lines += ["![performance profile](_static/bench/all-profile.svg)", ""]
    if results:
        lines += [READING, ""]
    for result in results:
        lines += _section(result)
    used = [flag for flag in MEANING if any(flag in entry.flags for result in results for entry in result.entries)]
    if used:
        lines += ["## Flags", "", *(f"- *{flag}*: {MEANING[flag]}." for flag in used), ""]
    return "\n".join(lines)


def _still(result: WorkloadResult) -> str:
    share = result.still_improving()
    if share is None:
        return ""
    return f" In the last fifth of its runs, {title(result.reference)} improves by {100 * share:.1f} %."


def _outcome(outcome: Outcome, is_withdrawn: bool) -> str:
    return f"**{outcome.result}**{', withdrawn' * is_withdrawn}"


def _has_rates(result: WorkloadResult) -> bool:
    return any(entry.good_decades() is not None for entry in result.entries)


def _robustness(results: list[WorkloadResult]) -> list[str]:
    """Returns the width of the good range of rates of every method, controllers first."""
    shown = [result for result in results if _has_rates(result)]
    if not shown:
        return []
    ran = {entry.entry for result in shown for entry in result.entries if entry.rate_curve()}
    names = [name for name in entries_in(shown) if name in ran]
    names.sort(key=lambda name: not METHODS[name].controls)
    rows: list[list[str]] = []
    for name in names:
        widths = [entry.good_decades() if (entry := result.entry(name)) else None for result in shown]
        rows.append([title(name), *("–" if width is None else f"{width:.2f}" for width in widths)])
    lines = ["## Robustness to the learning rate", ""]
    lines += ["Decades of the learning rate within which the test metric stays within 1 % of the method's best.", ""]
    lines += [*table(["method", *(result.title for result in shown)], rows), ""]
    return lines + [
        f"{result.title}:\n\n![{result.title}, every learning rate](_static/bench/{result.name}-rates.svg)\n"
        for result in shown
    ]


def _section(result: WorkloadResult) -> list[str]:
    shared = shared_flags(result)
    head = ["method", "verdict", f"test {result.metric}", f"difference to {title(result.reference)} [95 %]"]
    head += ["p (Holm)", "could have found", "recommended setting", "validation of the choice", "at equal CPU [95 %]"]
    head += ["reached", "CPU s", "flags"]
    rows = [
        [
            f"**{entry.title}**" if entry.ours else entry.title,
            _verdict(result, entry) if entry.comparison else "reference",
            spread(entry),
            interval(entry.comparison),
            f"{entry.adjusted_p:.2g}" if entry.comparison else "–",
            number(entry.comparison.detectable, 2) if entry.comparison else "–",
            average(entry.untuned_mean()),
            validation(entry),
            interval(at_equal_cpu(result, entry)),
            reached(entry) if result.target is not None else "–",
            number(entry.cost("train_cpu"), 2),
            ", ".join(flag for flag in entry.flags if flag not in shared),
        ]
        for entry in result.entries
    ]
    target = f" Target on validation: {number(result.target)}." if result.target is not None else ""
    lines = [f"## {result.title}", ""]
    lines += [
        f"{result.question} {result.metric}, {result.better} is better; margin {result.margin:g}.{target} A run: "
        f"{effort(result)}.{_still(result)}",
        "",
    ]
    if PROFILES[result.profile].documented and not result.entries[0].selection.documented:
        lines += ["The documented settings entered stage 2 of the search by their rank alone.", ""]
    caution = cautioned(result)
    lines += [caution[:1].upper() + caution[1:], ""] if caution else []
    if any(entry.comparison for entry in result.entries):
        lines += [f"![paired differences](_static/bench/{result.name}-forest.svg)", ""]
        lines += [f"![learning curves, every seed](_static/bench/{result.name}-curves.svg)", ""]
    if result.family == "es":
        lines += [f"![against evaluations and CPU seconds](_static/bench/{result.name}-cost.svg)", ""]
    if shared:
        lines += [f"All of them: *{', '.join(shared)}* (see [flags](#flags)).", ""]
    return [*lines, *table(head, rows, 2), ""]
