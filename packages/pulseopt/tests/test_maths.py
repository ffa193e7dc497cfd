"""The equations against oracles in Python's fractions and floats, written from the papers and the README."""

import math
import random
from fractions import Fraction
from statistics import fmean, pstdev, pvariance

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pulseopt._maths.context import phase, trend
from pulseopt._maths.ema import ema_ends
from pulseopt._maths.improvement import deviation, instability, log_improvement, relative_improvement
from pulseopt._maths.sums import plain_sum
from pulseopt._maths.ucb import best_arms, fade, scores, warmup_arms

finite = st.floats(allow_nan=False, allow_infinity=False)
ordinary = st.floats(-1e6, 1e6)
losses = st.lists(finite, min_size=1, max_size=20)


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


@settings(deadline=None)
@given(st.lists(ordinary, min_size=1, max_size=30), st.floats(0.01, 1.0), st.none() | ordinary)
def test_the_moving_average_is_the_closed_form(values, alpha, carried):
    start, end = ema_ends(values, alpha, carried)
    rest = values if carried is not None else values[1:]
    exact, a = Fraction(start), Fraction(alpha)
    for value in rest:
        exact = a * Fraction(value) + (1 - a) * exact
    assert start == (values[0] if carried is None else carried)
    assert end == pytest.approx(float(exact), rel=1e-9, abs=1e-6)
    assert min([start, *rest]) - 1e-6 <= end <= max([start, *rest]) + 1e-6


@settings(deadline=None)
@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20))
def test_instability_is_variance_over_squared_mean(values):
    exact = pvariance(map(Fraction, values)) / (fmean(values) ** 2 + 1e-8)
    assert instability(values, 1e-8) == pytest.approx(float(exact), rel=1e-9, abs=1e-12)
    assert deviation(values) == pytest.approx(pstdev(values), rel=1e-6, abs=1e-9)


@settings(deadline=None)
@given(losses, st.sampled_from([1e-8, 1.0, 5e-324]))
def test_instability_is_finite_for_every_finite_loss(values, eps):
    assert 0.0 <= instability(values, eps) < math.inf


@settings(deadline=None)
@given(finite, finite, losses)
def test_the_relative_improvement_is_bounded_and_its_sign_is_the_losss(e0, e1, values):
    b, v = relative_improvement(e0, e1, values)
    assert -2.0 <= b <= 2.0
    assert 0.0 <= v <= 1.0 + 1e-9
    assert b == 0 or (b > 0) == (e0 > e1)


@settings(deadline=None)
@given(
    ordinary, ordinary, st.lists(ordinary, min_size=1, max_size=9), st.sampled_from([2.0**k for k in (-20, -3, 5, 30)])
)
def test_the_relative_improvement_knows_no_scale(e0, e1, values, factor):
    assume(all(x == 0 or abs(x) > 1e-200 for x in (e0, e1, *values)))
    scaled = relative_improvement(e0 * factor, e1 * factor, [x * factor for x in values])
    assert scaled == relative_improvement(e0, e1, values)


@pytest.mark.parametrize("change", [1e-3, -1e-3, 0.0])
def test_for_small_changes_both_improvements_agree(change):
    relative, _ = relative_improvement(2.0, 2.0 * (1 - change), [2.0, 2.0])
    assert relative == pytest.approx(log_improvement(2.0, 2.0 * (1 - change), 1e-12), rel=2e-3, abs=1e-12)


@settings(deadline=None)
@given(st.lists(ordinary, max_size=6), st.floats(0, 10))
def test_the_trend_is_the_sign_of_the_mean_change(window, epsilon):
    if len(window) < 2:
        assert trend(window, epsilon) == "stable"
        return
    slope = (window[-1] - window[0]) / (len(window) - 1)
    expected = "improving" if slope < -epsilon else "worsening" if slope > epsilon else "stable"
    assert trend(window, epsilon) == expected


@settings(deadline=None)
@given(
    st.lists(st.floats(0.5, 100.0), min_size=2, max_size=6),
    st.floats(0, 1),
    st.sampled_from([2.0**k for k in (-30, 9)]),
)
def test_a_relative_epsilon_knows_no_scale(window, epsilon, factor):
    assert trend(window, epsilon, relative=True) == trend([w * factor for w in window], epsilon, relative=True)


def test_phases_are_thirds():
    assert [phase(t, 9) for t in (0, 2, 3, 5, 6, 8, 9, 100)] == ["early"] * 2 + ["middle"] * 2 + ["late"] * 4


def test_sums_round_once_an_addition():
    draw = random.Random(0)
    values = [draw.uniform(-1, 1) * 10 ** draw.randint(-8, 8) for _ in range(500)]
    total = 0.0
    for value in values:
        total = total + value
    assert plain_sum(values) == total != math.fsum(values)
