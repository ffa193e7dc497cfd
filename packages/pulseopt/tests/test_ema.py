"""The moving average against its closed form in fractions."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pulseopt._maths.ema import ema_ends

ordinary = st.floats(-1e6, 1e6)


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
