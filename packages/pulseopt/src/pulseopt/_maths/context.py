"""The context at the start of an episode: the recent trend of the loss, and the phase of training.

W₁ … Wₙ are the last losses of the newest n episodes, n at most the window; t the step, T the steps of the run:

    m = (Wₙ - W₁) / (n - 1)             (11)  the mean change from one episode to the next
    a = 1, or mean |W|                  (12)  the unit of ε: absolute, or relative to the loss
    improving if m < -ε a, worsening if m > ε a, stable otherwise and while n < 2     (13)
    early, middle or late: the third of [0, 1] in which min(t / T, 1) lies            (14)

Release 0.1.0 with a = 1; the relative unit is new here.
"""

from collections.abc import Sequence

from pulseopt._maths.sums import plain_mean

TREND_CONTEXT_BUCKETS = ["improving", "stable", "worsening"]
"""The contexts of ``context_mode="trend"``."""
TREND_PHASE_CONTEXT_BUCKETS = [
    f"{phase}_{trend}" for phase in ("early", "middle", "late") for trend in TREND_CONTEXT_BUCKETS
]
"""The contexts of ``context_mode="trend_phase"``."""


def trend(window: Sequence[float], epsilon: float, relative: bool = False) -> str:
    """Returns ``"improving"``, ``"stable"`` or ``"worsening"``."""
    if len(window) < 2:
        return "stable"
    slope = (window[-1] - window[0]) / (len(window) - 1)  # (11)
    unit = plain_mean([abs(loss) for loss in window]) if relative else 1.0  # (12)
    if slope < -epsilon * unit:  # (13)
        return "improving"
    return "worsening" if slope > epsilon * unit else "stable"


def phase(step: int, total_steps: int) -> str:
    """Returns ``"early"``, ``"middle"`` or ``"late"``."""
    progress = min(step / total_steps, 1.0)  # (14)
    if progress < 1.0 / 3.0:
        return "early"
    return "middle" if progress < 2.0 / 3.0 else "late"
