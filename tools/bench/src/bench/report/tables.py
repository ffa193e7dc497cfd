"""The numbers of the page and of summary.csv."""

import csv
import io
import math

from bench.report.analysis import ArmResult, WorkloadResult
from bench.report.statistics import Paired

COLUMNS = (
    "profile",
    "workload",
    "family",
    "metric",
    "better",
    "arm",
    "ours",
    "against",
    "seeds",
    "test_mean",
    "test_sd",
    "untuned_mean",
    "difference",
    "t_low",
    "t_high",
    "bootstrap_low",
    "bootstrap_high",
    "p_holm",
    "verdict",
    "reached",
    "median_steps_to_target",
    "diverged",
    "steps",
    "samples",
    "train_cpu_seconds",
    "wall_seconds",
    "state_bytes",
    "evaluations",
    "env_steps",
    "tuning_runs",
    "tuning_cpu_seconds",
    "least_decisions",
    "chosen",
    "flags",
    "tests",
)


def number(value: float | None, digits: int = 4) -> str:
    """Significant digits, a dash for nothing."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:,.0f}"


def average(value: float | None) -> str:
    """A mean with its trailing zeros, so that a column of them lines up."""
    return number(value) if value is None or abs(value) >= 1000 else f"{value:#.4g}"


def spread(arm: ArmResult) -> str:
    """Mean ± deviation of the test metric."""
    mean, deviation = arm.mean(), arm.deviation()
    if mean is None:
        return "–"
    if deviation is None:
        return average(mean)
    places = places_of(deviation)
    return f"{mean:.{places}f} ± {deviation:.{places}f}"


def interval(found: Paired | None) -> str:
    """``+0.012 [+0.003, +0.021]``, the difference and its t interval."""
    if found is None:
        return "–"
    mean, low, high = _aligned(found, found.mean, found.t_low, found.t_high)
    return f"{mean} [{low}, {high}]"


def bootstrap_interval(found: Paired) -> str:
    """``[+0.004, +0.019]``, with the places of `interval`."""
    low, high = _aligned(found, found.boot_low, found.boot_high)
    return f"[{low}, {high}]"


def _aligned(found: Paired, *values: float) -> list[str]:
    """Signed, with as many places as the width of the t interval is known to; zero is never negative."""
    places = places_of((found.t_high - found.t_low) / 2)
    return [f"{round(value, places) + 0.0:+.{places}f}" for value in values]


def places_of(width: float) -> int:
    """Decimal places that show two digits of a width; three where it has none."""
    return min(6, max(0, 1 - math.floor(math.log10(width)))) if width > 0 else 3


def effort(result: WorkloadResult) -> str:
    """What every run of a table had: the reference's steps, and the samples or fitness evaluations they took."""
    arm = result.arm(result.reference) or result.arms[0]
    steps, evaluations, samples = (arm.cost(name) for name in ("steps", "evaluations", "samples"))
    if evaluations:
        return f"{steps:,.0f} generations, {evaluations:,.0f} fitness evaluations"
    return f"{steps:,.0f} steps, {samples:,.0f} samples"


def setting(arm: ArmResult) -> str:
    """The chosen setting in a line."""
    return ", ".join(f"{name} {value}" for name, value in arm.selection.chosen.items())


def reached(arm: ArmResult) -> str:
    """``4/5`` seeds reached the target."""
    steps = arm.steps_to_target()
    return f"{sum(step is not None for step in steps)}/{len(steps)}"


def size(count: float) -> str:
    """Bytes, readable."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def summary(results: list[WorkloadResult]) -> str:
    """summary.csv: one line per arm and workload."""
    buffer = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for result in results:
        for arm in result.arms:
            writer.writerow(_row(result, arm))
    return buffer.getvalue()


def _row(result: WorkloadResult, arm: ArmResult) -> dict[str, object]:
    found = arm.comparison
    return {
        "profile": result.profile,
        "workload": result.workload,
        "family": result.family,
        "metric": result.metric,
        "better": result.better,
        "arm": arm.arm,
        "ours": int(arm.ours),
        "against": arm.against if found else "",
        "seeds": len(arm.finals),
        "test_mean": arm.mean(),
        "test_sd": arm.deviation(),
        "untuned_mean": arm.untuned_mean(),
        "difference": found.mean if found else None,
        "t_low": found.t_low if found else None,
        "t_high": found.t_high if found else None,
        "bootstrap_low": found.boot_low if found else None,
        "bootstrap_high": found.boot_high if found else None,
        "p_holm": arm.adjusted_p if found else None,
        "verdict": arm.verdict if found else "reference",
        "reached": reached(arm) if result.target is not None else "",
        "median_steps_to_target": arm.median_steps() if result.target is not None else None,
        "diverged": arm.diverged(),
        "steps": arm.cost("steps"),
        "samples": arm.cost("samples"),
        "train_cpu_seconds": arm.cost("train_cpu"),
        "wall_seconds": arm.cost("wall"),
        "state_bytes": arm.cost("state_bytes"),
        "evaluations": arm.cost("evaluations"),
        "env_steps": arm.cost("env_steps"),
        "tuning_runs": len(arm.tuning),
        "tuning_cpu_seconds": arm.tuning_cpu(),
        "least_decisions": min(arm.decisions()) if arm.decisions() else None,
        "chosen": setting(arm),
        "flags": "; ".join(arm.flags),
        "tests": " ".join(f"{seed}:{run.test}" for seed, run in arm.finals.items()),
    }
