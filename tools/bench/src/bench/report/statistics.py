"""Paired comparisons without scipy: t interval, bootstrap interval, Holm's correction.

    t = d̄ / (s / √n), n - 1 degrees of freedom            (1)  paired t; d the differences of equal seeds
    P(T ≤ t) = 1 - ½ I(ν / (ν + t²); ν/2, ½) for t ≥ 0      (2)  I the regularised incomplete beta function
    p̃₍ᵢ₎ = max over j ≤ i of min(1, (m - j + 1) p₍ⱼ₎)       (3)  Holm

Student 1908; Abramowitz & Stegun 26.5.27 and 26.5.8; Holm 1979, Scandinavian Journal of Statistics 6
"""

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

Verdict = Literal["better", "tie", "worse"]
LEVEL = 0.95
RESAMPLES = 10_000
ENOUGH_PAIRS = 5  # with fewer, nothing is called a difference


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


def incomplete_beta(x: float, a: float, b: float) -> float:
    """I(x; a, b) by its continued fraction (Lentz's method)."""
    if x <= 0 or x >= 1:
        return min(max(x, 0.0), 1.0)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    c, d, result, tiny = 1.0, 1 / (1 - (a + b) * x / (a + 1)), 0.0, 1e-300
    result = d
    for m in range(1, 300):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + numerator * d or tiny)
            c = 1 + numerator / c or tiny
            result *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * result / a


def t_cdf(t: float, nu: float) -> float:
    """P(T ≤ t) with ``nu`` degrees of freedom."""
    tail = 0.5 * incomplete_beta(nu / (nu + t * t), nu / 2, 0.5)
    return 1 - tail if t >= 0 else tail  # (2)


def t_quantile(p: float, nu: float) -> float:
    """The t with P(T ≤ t) = p, by bisection.

    Raises:
        ValueError: p is not strictly between 0 and 1.
    """
    if not 0 < p < 1:
        raise ValueError(f"p must be in (0, 1), got {p!r}")
    low, high = -1e6, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, nu) < p else (low, middle)
    return (low + high) / 2


def bootstrap(differences: list[float]) -> tuple[float, float]:
    """Percentile interval of the mean: every resample where there are few enough, else 10,000 of a fixed seed."""
    values = np.array(differences)
    n = len(values)
    if n**n <= 50_000:
        means = np.array([values[list(some)].mean() for some in itertools.product(range(n), repeat=n)])
    else:
        draws = np.random.Generator(np.random.PCG64(0)).integers(0, n, size=(RESAMPLES, n))
        means = values[draws].mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def paired(differences: list[float]) -> Paired | None:
    """Both intervals and the p value; None for fewer than two pairs."""
    n = len(differences)
    if n < 2:
        return None
    mean = math.fsum(differences) / n
    deviation = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (n - 1))
    low, high = bootstrap(differences)
    if deviation <= 1e-12 * max(1.0, abs(mean)):
        return Paired(n, mean, mean, mean, low, high, 1.0 if abs(mean) <= 1e-12 else 0.0)
    error = deviation / math.sqrt(n)
    half = t_quantile((1 + LEVEL) / 2, n - 1) * error
    p = 2 * (1 - t_cdf(abs(mean) / error, n - 1))  # (1)
    return Paired(n, mean, mean - half, mean + half, low, high, min(1.0, p))


def holm(values: list[float]) -> list[float]:
    """Adjusted p values, in the order given."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    adjusted, highest = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))  # (3)
        adjusted[index] = highest
    return adjusted


def verdict(comparison: Paired | None, adjusted_p: float) -> Verdict:
    """Better or worse when Holm's p is below 5 % and neither interval covers 0; everything else is a tie."""
    if comparison is None or comparison.n < ENOUGH_PAIRS or adjusted_p >= 1 - LEVEL:
        return "tie"
    if comparison.t_low <= 0 <= comparison.t_high or comparison.boot_low <= 0 <= comparison.boot_high:
        return "tie"
    return "better" if comparison.mean > 0 else "worse"
