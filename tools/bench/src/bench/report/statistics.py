"""Comparisons on equal seeds: t and bootstrap intervals by scipy, Holm's correction by statsmodels.

    t = d̄ / (s / √n), n - 1 degrees of freedom; d the differences of equal seeds          (1)
    δ = (t₀.₉₇₅ + t₀.₈) s / √n: the difference that n seeds find in four of five cases     (2)

Average ranks are resampled within each workload, as Agarwal et al. 2021 resample scores, https://arxiv.org/abs/2108.13264
"""

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Verdict = Literal["better", "worse", "equivalent", "undecided"]
LEVEL, POWER = 0.95, 0.8
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
    p: float  # two-sided, of (1)
    detectable: float  # (2)

    def inside(self, margin: float) -> bool:
        """Returns whether the t interval lies within ± ``margin``."""
        return -margin < self.t_low and self.t_high < margin


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
    deviation = float(np.std(differences, ddof=1))
    if deviation <= 1e-12 * max(1.0, abs(mean)):
        return Paired(n, mean, mean, mean, low, high, 1.0 if abs(mean) <= 1e-12 else 0.0, 0.0)
    found = _stats.ttest_1samp(differences, 0.0)  # (1)
    interval = found.confidence_interval(LEVEL)
    quantiles = sum(_stats.t.ppf([(1 + LEVEL) / 2, POWER], n - 1))
    detectable = float(quantiles) * deviation / math.sqrt(n)  # (2)
    return Paired(n, mean, float(interval.low), float(interval.high), low, high, float(found.pvalue), detectable)


def holm(values: list[float]) -> list[float]:
    """Returns adjusted p values, in the order given."""
    if not values:
        return []
    adjusted: list[float] = _multitest.multipletests(values, method="holm")[1].tolist()
    return adjusted


def verdict(comparison: Paired | None, adjusted_p: float, margin: float) -> Verdict:
    """Returns one of four verdicts.

    Equivalent: the t interval lies inside ± ``margin``, whatever p says. Better or worse: Holm's p is below 5 % and
    neither interval covers 0. Undecided: everything else, and fewer than five pairs.
    """
    if comparison is None or comparison.n < ENOUGH_PAIRS:
        return "undecided"
    if comparison.inside(margin):
        return "equivalent"
    covered = comparison.t_low <= 0 <= comparison.t_high or comparison.boot_low <= 0 <= comparison.boot_high
    if adjusted_p >= 1 - LEVEL or covered:
        return "undecided"
    return "better" if comparison.mean > 0 else "worse"


@dataclass(frozen=True)
class Rank:
    """An average rank over workloads, 1 the best, with the bootstrap interval over seeds."""

    mean: float
    low: float
    high: float


def average_ranks(scores: Sequence[NDArray[np.float64]]) -> list[Rank]:
    """Returns the rank of each entry, averaged over workloads.

    Args:
        scores: per workload (entries, seeds), higher is better, one row order for all; seeds are drawn again together,
            for they are pairs.
    """
    generator = np.random.Generator(np.random.PCG64(0))
    point = np.mean([_ranks(part.mean(1)) for part in scores], axis=0)
    draws = np.array(
        [
            np.mean([_ranks(p[:, generator.integers(0, p.shape[1], p.shape[1])].mean(1)) for p in scores], axis=0)
            for _ in range(999)
        ]
    )
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return [Rank(*map(float, row)) for row in zip(point, low, high, strict=True)]


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    ranks: NDArray[np.float64] = _stats.rankdata(-values)
    return ranks
