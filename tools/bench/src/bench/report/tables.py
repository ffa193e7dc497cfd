"""The numbers of the page and of summary.csv."""

import csv
import io
import math

from bench.report.results import EntryResult, WorkloadResult
from bench.report.statistics import Paired


def number(value: float | None, digits: int = 4) -> str:
    """Significant digits, a dash for nothing."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:,.0f}"


def average(value: float | None) -> str:
    """A mean with its trailing zeros, so that a column of them lines up."""
    return number(value) if value is None or abs(value) >= 1000 else f"{value:#.4g}"


def clock(seconds: float) -> str:
    """``75`` is ``1:15``."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def spread(entry: EntryResult) -> str:
    """Mean ± deviation of the test metric."""
    mean, deviation = entry.mean(), entry.deviation()
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
    entry = result.entry(result.reference) or result.entries[0]
    steps, evaluations, samples = (entry.cost(name) for name in ("steps", "evaluations", "samples"))
    if evaluations:
        return f"{steps:,.0f} generations, {evaluations:,.0f} fitness evaluations"
    return f"{steps:,.0f} steps, {samples:,.0f} samples"


def setting(entry: EntryResult) -> str:
    """The chosen setting in a line; that weights are read slow is how a method is driven, not a setting."""
    return ", ".join(f"{name} {value}" for name, value in entry.selection.chosen.items() if name != "weights")


def validation(entry: EntryResult) -> str:
    """Returns the chosen setting's mean validation with its standard error, and the range of those it ties with."""
    error, span = entry.standard_error(), entry.tuning_range()
    if error is None or span is None:
        return "–"
    mean = entry.sign * entry.validation()
    places = places_of(error)
    others = len(entry.alternatives())
    among = f"; {others} more from {span[0]:.{places}f} to {span[1]:.{places}f}" if others else ""
    return f"{mean:.{places}f} ± {error:.{places}f}{among}"


def reached(entry: EntryResult) -> str:
    """``4/5`` seeds reached the target."""
    steps = entry.steps_to_target()
    return f"{sum(step is not None for step in steps)}/{len(steps)}"


def size(count: float) -> str:
    """Bytes, readable."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def summary(results: list[WorkloadResult]) -> str:
    """summary.csv: one line per entry and workload."""
    buffer = io.StringIO()
    rows = [_row(result, entry) for result in results for entry in result.entries]
    writer: csv.DictWriter[str] = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _row(result: WorkloadResult, entry: EntryResult) -> dict[str, object]:
    found = entry.comparison
    return {
        "profile": result.profile,
        "workload": result.workload,
        "family": result.family,
        "metric": result.metric,
        "better": result.better,
        "entry": entry.entry,
        "ours": int(entry.ours),
        "against": entry.against if found else "",
        "seeds": len(entry.finals),
        "test_mean": entry.mean(),
        "test_sd": entry.deviation(),
        "untuned_mean": entry.untuned_mean(),
        "difference": found.mean if found else None,
        "t_low": found.t_low if found else None,
        "t_high": found.t_high if found else None,
        "bootstrap_low": found.boot_low if found else None,
        "bootstrap_high": found.boot_high if found else None,
        "p_holm": entry.adjusted_p if found else None,
        "margin": result.margin,
        "detectable": found.detectable if found else None,
        "verdict": entry.verdict if found else "reference",
        "reached": reached(entry) if result.target is not None else "",
        "median_steps_to_target": entry.median_steps() if result.target is not None else None,
        "diverged": entry.diverged(),
        "steps": entry.cost("steps"),
        "samples": entry.cost("samples"),
        "train_cpu_seconds": entry.cost("train_cpu"),
        "wall_seconds": entry.cost("wall"),
        "state_bytes": entry.cost("state_bytes"),
        "evaluations": entry.cost("evaluations"),
        "env_steps": entry.cost("env_steps"),
        "tuning_runs": len(entry.tuning),
        "tuning_cpu_seconds": entry.tuning_cpu(),
        "good_decades": entry.good_decades(),
        "least_decisions": min(entry.decisions()) if entry.decisions() else None,
        "chosen": setting(entry),
        "flags": "; ".join(entry.flags),
        "tests": " ".join(f"{seed}:{run.test}" for seed, run in entry.finals.items()),
    }
