"""Discounted UCB: old rewards are discounted, and rarely played arms get a bonus.

With γ the discount, r the reward of the arm a that was played, and c the exploration coefficient:

    n_k ← γ n_k + [k = a]                       (1)  the discounted number of plays
    s_k ← γ s_k + [k = a] r                     (2)  the discounted sum of rewards
    U_k = s_k / n_k + c √(ln(1 + Σ n) / n_k)    (3)  the mean and a bonus for uncertainty

The next arm is argmax U, after a warm-up that plays every arm equally often.

Garivier & Moulines 2008, section 3.1, https://arxiv.org/abs/0805.3415
"""

import math

from pulseopt._maths.sums import plain_sum

_TIE = 1e-12  # scores closer than this are equal


def fade(values: list[float], gamma: float, arm: int, amount: float) -> list[float]:
    """Discounts every arm's statistic, then adds the value of the arm played."""
    faded = [value * gamma for value in values]
    faded[arm] += amount  # (1) (2)
    return faded


def mean_rewards(n: list[float], s: list[float], eps: float) -> list[float]:
    """Returns every arm's discounted mean reward; ``eps`` is the smallest divisor."""
    return [s_k / max(n_k, eps) for n_k, s_k in zip(n, s, strict=True)]


def scores(n: list[float], s: list[float], c: float, eps: float) -> list[float]:
    """Returns every arm's upper confidence bound; ``eps`` is the smallest count."""
    log_total = math.log(plain_sum(n) + 1.0)
    counts = [max(n_k, eps) for n_k in n]
    return [s_k / n_k + c * math.sqrt(log_total / n_k) for n_k, s_k in zip(counts, s, strict=True)]  # (3)


def best_arms(bounds: list[float]) -> list[int]:
    """Returns the arms whose bound is within 1e-12 of the highest."""
    highest = max(bounds)
    return [arm for arm, bound in enumerate(bounds) if math.isclose(bound, highest, rel_tol=0.0, abs_tol=_TIE)]


def warmup_arms(plays: list[int], rounds: int) -> list[int]:
    """Returns the least played arms until every arm has had ``rounds`` plays; then none."""
    fewest = min(plays)
    return [arm for arm, count in enumerate(plays) if count == fewest] if fewest < rounds else []
