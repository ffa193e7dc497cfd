"""The search for a learning rate by the alignment of each gradient with the previous update.

g_t is the gradient of step t and u_{t-1} the update of the previous step, both for each of n tensors; M is the factor
on the learning rate, T the number of steps of the run, s the share of the run that anneals:

    q_t = -1/n Σ ⟨g_t, u_{t-1}⟩ / (|g_t| |u_{t-1}|)             (19)  the alignment, in [-1, 1]; Σ over tensors
    Q = mean of q_t over an episode, the k-th                   (20)
    x = exp(κ (Q - q*)),  κ = 5, q* = 0.05                      (21)  how far the rate is from its best
    M ← f M,  f in {1/2, 1/√2, 1, √2, 2} nearest to x           (22)  on a log scale; from M = 0.1, but for k = 1
    done after two episodes k > 1 in a row with Q < q*, or at t ≥ 0.3 T    (23)
    a_t = min(1, max(T - t, 1) / (s T))                         (24)  the annealing of the last share
    r = max(-κ |Q - q*|, lo)                                    (25)  the same as a reward for arms

While the rate is too low the gradient keeps pointing where the last step went; once it overshoots, it points back.
The first episode decides nothing: the first updates of an adaptive optimizer are aligned with nothing. Each tensor
counts alike in (19): over all entries at once gradients can be longest in one tensor and updates in another, as in the
head and the embedding of a text model, and the cosine of the whole is then small whatever the rate. A tensor where
either is 0 is left out. (19) to (25) are this package's own; the constants were fitted on digits, clean and with wrong
labels.
"""

import math
from collections.abc import Sequence

from torch import Tensor

from pulseopt._maths.sums import plain_mean

KAPPA = 5.0
TARGET = 0.05
START = 0.1
SEARCH_SHARE = 0.3
PATIENCE = 2  # episodes in a row below the target
FACTORS = (0.5, math.sqrt(0.5), 1.0, math.sqrt(2.0), 2.0)


def alignment(dot: Tensor, g_norm: Tensor, u_norm: Tensor) -> Tensor:
    """Returns q, given ⟨g, -u⟩ and the two lengths of each tensor; 0 where none has both lengths above 0."""
    lengths = g_norm * u_norm
    moved = lengths != 0  # not above 0: a length that is not a number makes q none either
    return (dot / lengths).where(moved, dot.new_zeros(())).sum() / moved.sum().clamp(min=1)  # (19)


def mean_alignment(q: Sequence[float]) -> float | None:
    """Returns Q, over the steps that have a finite alignment; None without any."""
    known = [value for value in q if math.isfinite(value)]
    return plain_mean(known) if known else None  # (20)


def next_multiplier(m: float, mean_q: float) -> float:
    """Returns the factor of the next episode."""
    log_x = KAPPA * (mean_q - TARGET)  # (21)
    return m * min(FACTORS, key=lambda f: abs(math.log(f) - log_x))  # (22)


def is_found(below: int, step: int, total_steps: int) -> bool:
    """Returns whether the search ends; ``below`` counts the latest episodes in a row below the target."""
    return below >= PATIENCE or step >= SEARCH_SHARE * total_steps  # (23)


def anneal(step: int, total_steps: int, share: float) -> float:
    """Returns the factor of the final phase: 1 before it, then down to 1 / (s T); 1 for a share of 0."""
    if share == 0.0:
        return 1.0
    return min(1.0, max(total_steps - step, 1) / (share * total_steps))  # (24)


def alignment_reward(mean_q: float, low: float) -> float:
    """Returns minus the distance of the mean alignment from its target, times κ, at least ``low``."""
    return max(-KAPPA * abs(mean_q - TARGET), low)  # (25)
