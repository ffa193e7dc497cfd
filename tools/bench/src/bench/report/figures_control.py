"""Figures of controllers, and of all workloads together: traces, histograms, the performance profile."""

import math
from typing import Any

from bench.methods.table import title
from bench.report.analysis import ArmResult, WorkloadResult, is_ours, is_reference, standing
from bench.report.canvas import GREY, STYLE, as_svg, colour, dash, plt


def traces(result: WorkloadResult) -> str:
    """What each controller set over time (every seed), and what it chose how often."""
    arms = [arm for arm in result.arms if arm.decisions()]
    if not arms:
        return ""
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(
            len(arms),
            2,
            figsize=(9.2, 1.7 * len(arms) + 0.3),
            squeeze=False,
            layout="constrained",
            gridspec_kw={"width_ratios": [3, 2]},
        )
        for (left, right), arm in zip(grid, arms, strict=True):
            _trace(left, arm)
            _histogram(right, arm)
        grid[-1][0].set_xlabel("step")
        grid[-1][1].set_xlabel("decisions, all seeds together")
        return as_svg(figure)


def _trace(axes: Any, arm: ArmResult) -> None:
    names = list(dict.fromkeys(name for run in arm.finals.values() for name in run.trace))
    shown = names[0] if names else ""
    for run in arm.finals.values():
        values = run.trace.get(shown, [])
        axes.step(
            run.curve.step[: len(values)],
            values[: len(run.curve.step)],
            color=colour(arm.arm),
            linewidth=0.9,
            where="post",
        )
    fewest = min(arm.decisions())
    axes.set_title(f"{arm.title}: {shown}; at least {fewest} decisions a run", loc="left")


def _histogram(axes: Any, arm: ArmResult) -> None:
    counts = sorted(arm.histogram().items(), key=lambda item: item[1])
    axes.barh([name for name, _ in counts], [count for _, count in counts], color=colour(arm.arm), height=0.6)


def performance_profile(results: list[WorkloadResult]) -> str:
    """Share of runs that reach the target within τ times the steps of the fastest arm on that workload."""
    pairs: dict[str, list[float]] = {}
    for result in results:
        if result.target is None or result.family != "gradient" or len(result.arms) < 3:
            continue
        best = min((arm.median_steps() or math.inf for arm in result.arms), default=math.inf)
        if math.isinf(best):
            continue
        for arm in result.arms:
            ratios = [math.inf if step is None else step / best for step in arm.steps_to_target()]
            pairs.setdefault(arm.arm, []).extend(ratios)
    if not pairs:
        return ""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(9.2, 3.2), layout="constrained")
        unnamed = "other published methods"
        for name, ratios in sorted(pairs.items(), key=lambda pair: standing(pair[0])):
            taus = [0.5 + 0.05 * i for i in range(71)]
            shares = [sum(ratio <= tau for ratio in ratios) / len(ratios) for tau in taus]
            named = is_reference(name) or is_ours(name)
            axes.plot(
                taus,
                shares,
                drawstyle="steps-post",
                linestyle=dash(name),
                color=colour(name) if is_ours(name) else "#0f172a" if named else GREY,
                linewidth=1.8 if named else 0.8,
                label=title(name) if named else unnamed,
                zorder=3 if named else 2,
            )
            unnamed = unnamed if named else "_"  # matplotlib leaves such a label out of the legend
        axes.set_xlabel("τ: steps to target over those of the fastest method")
        axes.set_ylabel("share of runs within τ")
        axes.set_ylim(0, 1.02)
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return as_svg(figure)
