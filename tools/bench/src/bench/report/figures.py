"""Figures as SVG text: learning curves of every seed, forest of paired differences, steps to target, sensitivity."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from bench.report.analysis import ArmResult, WorkloadResult, differences
from bench.report.canvas import GREY, STYLE, as_svg, colour, dash, plt


def learning_curves(result: WorkloadResult) -> str:
    """One panel per arm: every seed, and the reference's mean in grey behind it."""
    arms = result.arms
    columns = min(4, len(arms))
    rows = math.ceil(len(arms) / columns)
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
        behind = result.arm(result.reference)
        low, high = _limits(arms)
        for panel, arm in zip(panels, arms, strict=False):
            if behind is not None and behind is not arm:
                steps, mean = _mean_curve(behind)
                panel.plot(steps, mean, color=GREY, linewidth=1.6)
            for run in arm.finals.values():
                panel.plot(run.curve.step, run.curve.value, color=colour(arm.arm), linewidth=0.9, alpha=0.8)
            if result.target is not None:
                panel.axhline(result.target, color="#0f172a", linewidth=0.6, linestyle=":")
            small = {"fontsize": 7} if len(arm.title) > 26 else {}  # a long one would run into the next panel's
            panel.set_title(arm.title, loc="left", fontweight="bold" if arm.ours else "normal", **small)
            panel.set_ylim(low, high)
        for panel in panels[len(arms) :]:
            panel.set_visible(False)
        for panel in panels[max(0, len(arms) - columns) : len(arms)]:  # with nothing visible below
            panel.tick_params(labelbottom=True)
        figure.supylabel(f"validation {result.metric}", fontsize=9)
        figure.supxlabel("generation" if result.family == "es" else "step", fontsize=9)
        return as_svg(figure)


def _mean_curve(arm: ArmResult) -> tuple[list[int], list[float]]:
    runs = list(arm.finals.values())
    length = min(len(run.curve.value) for run in runs)
    mean = np.mean([run.curve.value[:length] for run in runs], axis=0)
    return runs[0].curve.step[:length], mean.tolist()


def _limits(arms: Sequence[ArmResult]) -> tuple[float, float]:
    """A range that a single diverging curve cannot blow up."""
    values = [value for arm in arms for run in arm.finals.values() for value in run.curve.value]
    low, high = np.quantile(values, [0.01, 0.99]) if values else (0.0, 1.0)
    margin = 0.06 * (high - low) or 0.1
    return float(low - margin), float(high + margin)


def forest(result: WorkloadResult) -> str:
    """Paired differences to the reference: every seed a dot, bootstrap interval thick, t interval thin."""
    arms = [arm for arm in result.arms if arm.comparison is not None]
    if not arms:
        return ""
    arms = sorted(arms, key=lambda arm: arm.comparison.mean if arm.comparison else 0.0)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.6, 0.3 * len(arms) + 0.9), layout="constrained")
        reach = 0.0
        for row, arm in enumerate(arms):
            reference, found = result.arm(arm.against), arm.comparison
            if reference is None or found is None:
                continue
            paint = colour(arm.arm)
            axes.plot([found.t_low, found.t_high], [row, row], color=paint, linewidth=1)
            axes.plot([found.boot_low, found.boot_high], [row, row], color=paint, linewidth=3.4, solid_capstyle="butt")
            dots = differences(arm, reference, result.better)
            axes.plot(dots, [row + 0.24] * len(dots), ".", color=paint, markersize=3.5, alpha=0.7)
            axes.plot([found.mean], [row], "o", color="white", markeredgecolor=paint, markersize=4.5)
            reach = max(reach, *(abs(end) for end in (found.boot_low, found.boot_high)))
        axes.axvline(0, color="#0f172a", linewidth=0.8)
        axes.set_yticks(range(len(arms)), [arm.title for arm in arms])
        axes.set_ylim(-0.6, len(arms) - 0.3)
        widest = sorted(max(abs(a.comparison.t_low), abs(a.comparison.t_high)) for a in arms if a.comparison)
        edge = _around_zero(widest, reach)
        axes.set_xlim(-edge, edge)
        axes.set_xlabel(f"difference in test {result.metric} to the reference on equal seeds   (better →)")
        return as_svg(figure)


def _around_zero(widest: list[float], reach: float) -> float:
    """Half the width of the axis: enough for nearly all, not ruled by one method that went astray."""
    usual = widest[max(0, math.ceil(0.75 * len(widest)) - 1)]
    return 1.15 * max(min(max(widest[-1], reach), 3 * usual), 1e-9)


def steps_to_target(result: WorkloadResult) -> str:
    """First evaluation at the target: every seed a dot, a miss a cross beyond the end."""
    if result.target is None:
        return ""
    arms = sorted(result.arms, key=lambda arm: -(arm.median_steps() or math.inf))
    end = max((run.curve.step[-1] for arm in arms for run in arm.finals.values() if run.curve.step), default=1)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.6, 0.28 * len(arms) + 0.9), layout="constrained")
        for row, arm in enumerate(arms):
            steps = arm.steps_to_target()
            for offset, step in enumerate(steps):
                height = row + 0.32 * (offset / max(1, len(steps) - 1) - 0.5)
                if step is None:
                    axes.plot([1.06 * end], [height], "x", color=colour(arm.arm), markersize=4)
                else:
                    axes.plot([step], [height], "o", color=colour(arm.arm), markersize=3.4)
            middle = arm.median_steps()
            if middle is not None:
                axes.plot([middle, middle], [row - 0.34, row + 0.34], color=colour(arm.arm), linewidth=2)
        axes.axvspan(1.02 * end, 1.1 * end, color="#f1f5f9")
        axes.set_yticks(range(len(arms)), [arm.title for arm in arms])
        axes.set_xlim(0, 1.1 * end)
        unit = "generations" if result.family == "es" else "steps"
        axes.set_xlabel(f"{unit} to validation {result.metric} {result.target:.4g}; right: not reached")
        return as_svg(figure)


def sensitivity(result: WorkloadResult) -> str:
    """Mean tuning score against the learning rate, in multiples of the one chosen."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(9.2, 3.0), layout="constrained")
        seen: list[float] = []
        for arm in sorted(result.arms, key=lambda arm: arm.ours):
            points = sensitivity_points(arm)
            if len(points) < 2:
                continue
            seen += [value for _, value in points]
            label = arm.title if arm.ours else None
            style = (
                {"linewidth": 1.8, "marker": "o", "markersize": 3.5} if arm.ours else {"linewidth": 0.9, "alpha": 0.6}
            )
            paint = colour(arm.arm) if arm.ours else GREY
            axes.plot(*zip(*points, strict=True), color=paint, linestyle=dash(arm.arm), label=label, **style)
        if not seen:
            plt.close(figure)
            return ""
        axes.set_xscale("log")
        low, high = np.quantile(seen, [0.05, 0.95])
        margin = 0.15 * (high - low) or 0.1
        axes.set_ylim(low - margin, high + margin)
        axes.set_xlabel("learning rate over the chosen one (grey: published methods)")
        axes.set_ylabel(f"tuning {result.metric}")
        if axes.get_legend_handles_labels()[1]:
            axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return as_svg(figure)


def sensitivity_points(arm: ArmResult) -> list[tuple[float, float]]:
    """(rate over the chosen rate, mean score) of the trials that share the chosen other settings."""
    chosen = arm.selection.chosen
    rest = {name: value for name, value in chosen.items() if name != "lr"}
    points: list[tuple[float, float]] = []
    for trial in arm.selection.trials:
        same = all(trial.params.get(name) == value for name, value in rest.items())
        values = [value for value in trial.values if value is not None]
        if same and len(values) == len(trial.values):
            points.append((float(trial.params["lr"]) / float(chosen["lr"]), math.fsum(values) / len(values)))
    return sorted(points)


def save(drawings: dict[str, Callable[[], str]]) -> dict[str, str]:
    """Draw what there is to draw."""
    drawn = {name: draw() for name, draw in drawings.items()}
    return {name: svg for name, svg in drawn.items() if svg}
