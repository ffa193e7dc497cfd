"""Improvement and instability of an episode against fractions, and their laws."""

import math
from fractions import Fraction
from statistics import fmean, pstdev, pvariance

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pulseopt._maths.improvement import deviation, instability, log_improvement, relative_improvement

finite = st.floats(allow_nan=False, allow_infinity=False)
ordinary = st.floats(-1e6, 1e6)
losses = st.lists(finite, min_size=1, max_size=20)


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
