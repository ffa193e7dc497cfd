"""The improvement of the loss over an episode, and its instability.

E₀ and E₁ are the moving averages of the loss at the episode's start and end, L its losses, L̄ their mean,
D² their population variance, ε the reward's epsilon, λ the instability's weight. For losses above zero:

    b = ln(E₀ + ε) - ln(E₁ + ε)         (5)  the logarithm of the improvement
    v = D² / (L̄² + ε)                   (6)  the instability, in units of the mean
    r = min(max(b - λ v, lo), hi)       (7)  the reward

For any finite losses, negative ones and zeros included, and the same when all are multiplied by a constant:

    S = max(|E₀|, |E₁|, D)              (8)  the scale
    b = E₀ / S - E₁ / S                 (9)  the relative improvement, in [-2, 2]; 0 where S = 0
    v = (D / S)²                        (10)  the instability, in [0, 1]

Against the newest n improvements b_k of (9), this episode's included, with mean b̄ and population deviation s:

    r = min(max((b - b̄) / (3 s), lo), hi)        (26)  the standardised improvement; 0 where s = 0

(5) to (7) are release 0.1.0's; (9) is (5) to first order while the average stays above zero and changes little.
"""

import math
import sys
from collections.abc import Sequence

from pulseopt._maths.sums import plain_mean


def log_improvement(e0: float, e1: float, eps: float) -> float:
    """Returns b for averages above ``-eps``."""
    return math.log(e0 + eps) - math.log(e1 + eps)  # (5)


def deviation(losses: Sequence[float]) -> float:
    """Returns D, the population standard deviation, for losses as large as floats get."""
    largest = max(abs(loss) for loss in losses)
    if largest == 0.0:
        return 0.0
    shares = [loss / largest for loss in losses]
    mean = plain_mean(shares)
    return largest * math.sqrt(plain_mean([(share - mean) ** 2 for share in shares]))


def instability(losses: Sequence[float], eps: float) -> float:
    """Returns v; where squares leave the range of floats, the same from losses in units of the largest."""
    try:
        v = _instability(losses, eps)
    except OverflowError:
        v = math.inf
    if math.isfinite(v):
        return v
    largest = max(abs(loss) for loss in losses)
    return min(_instability([loss / largest for loss in losses], eps), sys.float_info.max)


def _instability(losses: Sequence[float], eps: float) -> float:
    mean = plain_mean(losses)
    variance = plain_mean([(loss - mean) ** 2 for loss in losses])
    return variance / (mean * mean + eps)  # (6)


def clipped(base: float, v: float, lam: float, low: float, high: float) -> tuple[float, float, float]:
    """Returns the penalty λ v, the reward before the clip, and the reward."""
    penalty = lam * v
    unclipped = base - penalty
    return penalty, unclipped, min(max(unclipped, low), high)  # (7)


def relative_improvement(e0: float, e1: float, losses: Sequence[float]) -> tuple[float, float]:
    """Returns b and v for any finite averages and losses."""
    d = deviation(losses)
    scale = max(abs(e0), abs(e1), d)  # (8)
    if scale == 0.0:
        return 0.0, 0.0
    return e0 / scale - e1 / scale, (d / scale) ** 2  # (9) (10)


def standardised(b: float, recent: Sequence[float], low: float, high: float) -> tuple[float, float]:
    """Returns the standardised improvement before and after the clip; ``recent`` holds ``b`` too."""
    spread = deviation([other - plain_mean(recent) for other in recent])
    z = (b - plain_mean(recent)) / (3.0 * spread) if spread > 0.0 else 0.0
    return z, min(max(z, low), high)  # (26)
