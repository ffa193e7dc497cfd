"""Figures of controllers, and of all workloads together: traces, histograms, the performance profile."""

import math
from typing import Any

from bench.methods.table import title
from bench.report.analysis import is_ablation, is_ours, is_reference, table_order
from bench.report.canvas import STYLE, as_svg, colour, plt
from bench.report.results import EntryResult, WorkloadResult


def traces(result: WorkloadResult) -> str:
    """What each controller set over time (every seed), and what it chose how often."""
    entries = [entry for entry in result.entries if entry.decisions()]
    if not entries:
        return ""
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(
            len(entries),
            2,
            figsize=(9.2, 1.7 * len(entries) + 0.3),
            squeeze=False,
            layout="constrained",
            gridspec_kw={"width_ratios": [3, 2]},
        )
        for (left, right), entry in zip(grid, entries, strict=True):
            _trace(left, entry)
            _histogram(right, entry)
        grid[-1][0].set_xlabel("step")
        grid[-1][1].set_xlabel("decisions, all seeds together")
        return as_svg(figure)


def _trace(axes: Any, entry: EntryResult) -> None:
    names = list(dict.fromkeys(name for run in entry.finals.values() for name in run.trace))
    shown = names[0] if names else ""
    for run in entry.finals.values():
        values = run.trace.get(shown, [])
        axes.step(
            run.curve.step[: len(values)],
            values[: len(run.curve.step)],
            color=colour(entry.entry),
            linewidth=0.9,
            where="post",
        )
    fewest = min(entry.decisions())
    axes.set_title(f"{entry.title}: {shown}; at least {fewest} decisions a run", loc="left")


def _histogram(axes: Any, entry: EntryResult) -> None:
    counts = sorted(entry.histogram().items(), key=lambda item: item[1])
    axes.barh([name for name, _ in counts], [count for _, count in counts], color=colour(entry.entry), height=0.6)


def performance_profile(results: list[WorkloadResult]) -> str:
    """Share of runs that reach the target within τ times the steps of the fastest entry on that workload."""
    pairs: dict[str, list[float]] = {}
    for result in results:
        if result.target is None or result.family != "gradient" or len(result.entries) < 3:
            continue
        best = min((entry.median_steps() or math.inf for entry in result.entries), default=math.inf)
        if math.isinf(best):
            continue
        for entry in result.entries:
            if is_ablation(entry.entry):
                continue
            ratios = [math.inf if step is None else step / best for step in entry.steps_to_target()]
            pairs.setdefault(entry.entry, []).extend(ratios)
    if not pairs:
        return ""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(9.2, 3.2), layout="constrained")
        for name, ratios in sorted(pairs.items(), key=lambda pair: table_order(pair[0])):
            taus = [0.5 + 0.05 * i for i in range(71)]
            shares = [sum(ratio <= tau for ratio in ratios) / len(ratios) for tau in taus]
            strong = is_reference(name) or is_ours(name)
            axes.plot(
                taus,
                shares,
                drawstyle="steps-post",
                color=colour(name),
                linewidth=1.8 if strong else 0.9,
                label=title(name),
                zorder=3 if strong else 2,
            )
        axes.set_xlabel("τ: steps to target over those of the fastest method")
        axes.set_ylabel("share of runs within τ")
        axes.set_ylim(0, 1.02)
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return as_svg(figure)
