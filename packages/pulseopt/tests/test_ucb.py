"""The discounted bandit's equations against sums written from the paper."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pulseopt._maths.ucb import best_arms, fade, scores, warmup_arms


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-1, 1)), min_size=1, max_size=40), st.floats(0.5, 1.0))
def test_discounted_statistics_are_the_papers_sums(plays, gamma):
    n, s = [0.0] * 4, [0.0] * 4
    for arm, reward in plays:
        n, s = fade(n, gamma, arm, 1.0), fade(s, gamma, arm, reward)
    for k in range(4):  # N_t(γ, i) = Σ γ^(t - s) 1{I_s = i}, and the rewards alike
        ages = [(len(plays) - 1 - i, reward) for i, (arm, reward) in enumerate(plays) if arm == k]
        assert n[k] == pytest.approx(math.fsum(gamma**age for age, _ in ages), rel=1e-12, abs=1e-12)
        assert s[k] == pytest.approx(math.fsum(gamma**age * r for age, r in ages), rel=1e-9, abs=1e-12)


def test_bounds_are_mean_plus_bonus():
    n, s, c = [2.0, 0.5, 1.0], [1.0, 0.4, -0.2], 0.7
    expected = [s_k / n_k + c * math.sqrt(math.log(1 + 3.5) / n_k) for n_k, s_k in zip(n, s, strict=True)]
    assert scores(n, s, c, 1e-12) == pytest.approx(expected, rel=1e-12)
    assert best_arms([1.0, 1.0 - 1e-13, 0.5]) == [0, 1]
    assert warmup_arms([1, 0, 0], 1) == [1, 2]
    assert warmup_arms([1, 1, 1], 1) == []
