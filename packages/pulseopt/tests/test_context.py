"""Trend and phase against their definitions."""

from hypothesis import given, settings
from hypothesis import strategies as st
from pulseopt._maths.context import phase, trend

ordinary = st.floats(-1e6, 1e6)


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
