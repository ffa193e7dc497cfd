"""Paired comparisons: t and bootstrap intervals by scipy, Holm's correction by statsmodels."""

import importlib
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Verdict = Literal["better", "tie", "worse"]
LEVEL = 0.95
RESAMPLES = 9_999
ENOUGH_PAIRS = 5  # with fewer, nothing is called a difference
_stats: Any = importlib.import_module("scipy.stats")  # neither of the two is annotated
_multitest: Any = importlib.import_module("statsmodels.stats.multitest")


@dataclass(frozen=True)
class Paired:
    """A paired difference, positive where the method is better than the reference."""

    n: int
    mean: float
    t_low: float
    t_high: float
    boot_low: float
    boot_high: float
    p: float  # two-sided, of Student's t


def bootstrap(differences: list[float]) -> tuple[float, float]:
    """Returns the percentile interval of the mean, from resamples of a fixed seed."""
    if np.ptp(differences) == 0:
        return differences[0], differences[0]
    found = _stats.bootstrap(
        (differences,), np.mean, confidence_level=LEVEL, n_resamples=RESAMPLES, method="percentile", rng=0
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def paired(differences: list[float]) -> Paired | None:
    """Returns both intervals and the p value; None for fewer than two pairs."""
    n = len(differences)
    if n < 2:
        return None
    mean = math.fsum(differences) / n
    low, high = bootstrap(differences)
    if np.std(differences, ddof=1) <= 1e-12 * max(1.0, abs(mean)):
        return Paired(n, mean, mean, mean, low, high, 1.0 if abs(mean) <= 1e-12 else 0.0)
    found = _stats.ttest_1samp(differences, 0.0)
    interval = found.confidence_interval(LEVEL)
    return Paired(n, mean, float(interval.low), float(interval.high), low, high, float(found.pvalue))


def holm(values: list[float]) -> list[float]:
    """Returns adjusted p values, in the order given."""
    if not values:
        return []
    adjusted: list[float] = _multitest.multipletests(values, method="holm")[1].tolist()
    return adjusted


def verdict(comparison: Paired | None, adjusted_p: float) -> Verdict:
    """Returns better or worse when Holm's p is below 5 % and neither interval covers 0; everything else is a tie."""
    if comparison is None or comparison.n < ENOUGH_PAIRS or adjusted_p >= 1 - LEVEL:
        return "tie"
    if comparison.t_low <= 0 <= comparison.t_high or comparison.boot_low <= 0 <= comparison.boot_high:
        return "tie"
    return "better" if comparison.mean > 0 else "worse"
