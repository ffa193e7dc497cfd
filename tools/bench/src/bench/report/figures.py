"""Figures as SVG text: learning curves of every seed, forest of paired differences, steps to target, sensitivity."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from bench.methods.table import title
from bench.report.analysis import ranks, widely_compared
from bench.report.canvas import GREY, STYLE, as_svg, colour, plt
from bench.report.results import EntryResult, WorkloadResult, differences


def learning_curves(result: WorkloadResult) -> str:
    """One panel per entry: every seed, and the reference's mean in grey behind it."""
    entries = result.entries
    columns = min(4, len(entries))
    rows = math.ceil(len(entries) / columns)
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(
            rows,
            columns,
            figsize=(9.2, 1.75 * rows + 0.4),
            sharex=True,
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        panels = list(grid.flat)
        behind = result.entry(result.reference)
        low, high = _limits(entries)
        for panel, entry in zip(panels, entries, strict=False):
            if behind is not None and behind is not entry:
                steps, mean = _mean_curve(behind)
                panel.plot(steps, mean, color=GREY, linewidth=1.6)
            for run in entry.finals.values():
                panel.plot(run.curve.step, run.curve.value, color=colour(entry.entry), linewidth=0.9, alpha=0.8)
            if result.target is not None:
                panel.axhline(result.target, color="#0f172a", linewidth=0.6, linestyle=":")
            small = {"fontsize": 7} if len(entry.title) > 26 else {}  # a long one would run into the next panel's
            panel.set_title(entry.title, loc="left", fontweight="bold" if entry.ours else "normal", **small)
            panel.set_ylim(low, high)
        for panel in panels[len(entries) :]:
            panel.set_visible(False)
        for panel in panels[max(0, len(entries) - columns) : len(entries)]:  # with nothing visible below
            panel.tick_params(labelbottom=True)
        figure.supylabel(f"validation {result.metric}", fontsize=9)
        unit = "generation" if result.family == "es" else "step"
        figure.supxlabel(f"{unit}; grey: mean of {title(result.reference)}", fontsize=9)
        return as_svg(figure)


def _mean_curve(entry: EntryResult) -> tuple[list[int], list[float]]:
    runs = list(entry.finals.values())
    length = min(len(run.curve.value) for run in runs)
    mean = np.mean([run.curve.value[:length] for run in runs], axis=0)
    return runs[0].curve.step[:length], mean.tolist()


def _limits(entries: Sequence[EntryResult]) -> tuple[float, float]:
    """A range that a single diverging curve cannot blow up."""
    values = [value for entry in entries for run in entry.finals.values() for value in run.curve.value]
    low, high = np.quantile(values, [0.01, 0.99]) if values else (0.0, 1.0)
    margin = 0.06 * (high - low) or 0.1
    return float(low - margin), float(high + margin)


def forest(result: WorkloadResult) -> str:
    """Paired differences to the reference: every seed a dot, bootstrap interval thick, t interval thin."""
    entries = [e for e in result.entries if e.comparison is not None and e.against == result.reference]
    if not entries:
        return ""
    entries = sorted(entries, key=lambda entry: entry.comparison.mean if entry.comparison else 0.0)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.6, 0.3 * len(entries) + 0.9), layout="constrained")
        reach = 0.0
        for row, entry in enumerate(entries):
            reference, found = result.entry(entry.against), entry.comparison
            if reference is None or found is None:
                continue
            paint = colour(entry.entry)
            axes.plot([found.t_low, found.t_high], [row, row], color=paint, linewidth=1)
            axes.plot([found.boot_low, found.boot_high], [row, row], color=paint, linewidth=3.4, solid_capstyle="butt")
            dots = differences(entry.finals, reference.finals, result.sign)
            axes.plot(dots, [row + 0.24] * len(dots), ".", color=paint, markersize=3.5, alpha=0.7)
            axes.plot([found.mean], [row], "o", color="white", markeredgecolor=paint, markersize=4.5)
            reach = max(reach, *(abs(end) for end in (found.boot_low, found.boot_high)))
        axes.axvline(0, color="#0f172a", linewidth=0.8)
        axes.axvspan(-result.margin, result.margin, color="#e2e8f0", zorder=0)
        axes.set_yticks(range(len(entries)), [entry.title for entry in entries])
        axes.set_ylim(-0.6, len(entries) - 0.3)
        widest = sorted(max(abs(a.comparison.t_low), abs(a.comparison.t_high)) for a in entries if a.comparison)
        edge = _around_zero(widest, reach)
        axes.set_xlim(-edge, edge)
        axes.set_xlabel(f"difference in test {result.metric} to {title(result.reference)} on equal seeds   (better →)")
        return as_svg(figure)


def _around_zero(widest: list[float], reach: float) -> float:
    """Half the width of the axis: enough for nearly all, not ruled by one method that went astray."""
    usual = widest[max(0, math.ceil(0.75 * len(widest)) - 1)]
    return 1.15 * max(min(max(widest[-1], reach), 3 * usual), 1e-9)


def steps_to_target(result: WorkloadResult) -> str:
    """First evaluation at the target: every seed a dot, a miss a cross beyond the end."""
    if result.target is None:
        return ""
    entries = sorted(result.entries, key=lambda entry: -(entry.median_steps() or math.inf))
    end = max((run.curve.step[-1] for entry in entries for run in entry.finals.values() if run.curve.step), default=1)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.6, 0.28 * len(entries) + 0.9), layout="constrained")
        for row, entry in enumerate(entries):
            steps = entry.steps_to_target()
            for offset, step in enumerate(steps):
                height = row + 0.32 * (offset / max(1, len(steps) - 1) - 0.5)
                if step is None:
                    axes.plot([1.06 * end], [height], "x", color=colour(entry.entry), markersize=4)
                else:
                    axes.plot([step], [height], "o", color=colour(entry.entry), markersize=3.4)
            middle = entry.median_steps()
            if middle is not None:
                axes.plot([middle, middle], [row - 0.34, row + 0.34], color=colour(entry.entry), linewidth=2)
        axes.axvspan(1.02 * end, 1.1 * end, color="#f1f5f9")
        axes.set_yticks(range(len(entries)), [entry.title for entry in entries])
        axes.set_xlim(0, 1.1 * end)
        unit = "generations" if result.family == "es" else "steps"
        axes.set_xlabel(f"{unit} to validation {result.metric} {result.target:.4g}; right: not reached")
        return as_svg(figure)


def rates(result: WorkloadResult) -> str:
    """The test metric over the learning rate of every method; the ring is the chosen rate."""
    entries = [entry for entry in result.entries if entry.rate_curve()]
    if not entries:
        return ""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(9.2, 3.6), layout="constrained")
        seen: list[float] = []
        for entry in entries:
            points = [(lr, value) for lr, value in entry.rate_curve() if value is not None]
            seen += [value for _, value in points]
            style = {"linewidth": 2.0, "zorder": 3} if entry.ours else {"linewidth": 1.1}
            axes.plot(*zip(*points, strict=True), ".-", color=colour(entry.entry), label=entry.title, **style)
            chosen = float(entry.selection.chosen["lr"])
            axes.plot([lr for lr, _ in points if lr == chosen], [v for lr, v in points if lr == chosen], "o",
                      color=colour(entry.entry), fillstyle="none")  # fmt: skip
        axes.set_xscale("log")
        low, high = (0.15, 1.0) if result.better == "higher" else (0.0, 0.85)
        bottom, top = np.quantile(seen, [low, high])
        margin = 0.1 * (top - bottom) or 0.1
        axes.set_ylim(bottom - margin, top + margin)
        axes.set_xlabel("learning rate")
        axes.set_ylabel(f"test {result.metric}")
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return as_svg(figure)


def cost(result: WorkloadResult) -> str:
    """Evolution: mean validation against fitness evaluations and against CPU seconds of training."""
    if result.family != "es" or not result.entries:
        return ""
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(1, 2, figsize=(9.2, 3.2), sharey=True, layout="constrained")
        for entry in result.entries:
            runs = [run for run in entry.finals.values() if run.status == "finished"]
            if not runs:
                continue
            members = runs[0].cost.evaluations / max(1, runs[0].cost.steps)
            value = np.mean([run.curve.value for run in runs], axis=0)
            spent = (np.array(runs[0].curve.step) * members, np.mean([run.curve.cpu for run in runs], axis=0))
            for panel, place in zip(panels, spent, strict=True):
                panel.plot(place, value, color=colour(entry.entry), linewidth=1.6, label=entry.title)
        panels[0].set_xlabel("fitness evaluations")
        panels[1].set_xlabel("CPU seconds of training")
        panels[0].set_ylabel(f"validation {result.metric}, mean over seeds")
        panels[1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return as_svg(figure)


def rank_chart(results: list[WorkloadResult]) -> str:
    """Average rank over workloads with its bootstrap interval, the best on top."""
    found = sorted(ranks(results).items(), key=lambda item: -item[1].mean)
    if not found:
        return ""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.6, 0.28 * len(found) + 0.9), layout="constrained")
        for row, (name, rank) in enumerate(found):
            axes.plot([rank.low, rank.high], [row, row], color=colour(name), linewidth=3, solid_capstyle="butt")
            axes.plot([rank.mean], [row], "o", color="white", markeredgecolor=colour(name), markersize=5)
        axes.set_yticks(range(len(found)), [title(name) for name, _ in found])
        axes.set_xlabel(f"average rank over {len(widely_compared(results))} workloads, 1 the best")
        return as_svg(figure)


def save(drawings: dict[str, Callable[[], str]]) -> dict[str, str]:
    """Draws what there is to draw."""
    drawn = {name: draw() for name, draw in drawings.items()}
    return {name: svg for name, svg in drawn.items() if svg}
