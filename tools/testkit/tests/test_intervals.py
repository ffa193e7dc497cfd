"""An interval's probes stand on both sides of each end, and know which side they are on."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from testkit.intervals import FAR, probes

BEYOND = {math.inf, -math.inf}


def sides(interval, **kind):
    found = probes(interval, **kind)
    inside = [value for value, ok in found if ok]
    outside = [value for value, ok in found if not ok]
    return inside, {value for value in outside if not math.isnan(value)}


def test_a_closed_end_is_inside_and_its_neighbour_is_not():
    inside, outside = sides("[0, 1]")
    assert inside == [0.0, 1.0]
    assert outside == {math.nextafter(0, -1), math.nextafter(1, 2)} | BEYOND


def test_an_open_end_is_outside_and_its_neighbour_is_not():
    inside, outside = sides("(0, 1)")
    assert inside == [math.nextafter(0, 1), math.nextafter(1, 0)]
    assert outside == {0.0, 1.0} | BEYOND


def test_an_unbounded_interval_has_a_far_value_and_no_infinity():
    inside, outside = sides("[0, inf)")
    assert inside == [0.0, FAR]
    assert outside == {math.nextafter(0, -1)} | BEYOND


def test_infinity_is_inside_where_the_interval_is_closed_there():
    inside, outside = sides("(0, inf]")
    assert math.inf in inside
    assert outside == {0.0, -math.inf}


def test_nan_is_outside_every_interval():
    assert all(
        any(math.isnan(value) and not ok for value, ok in probes(interval)) for interval in ("[0, 1]", "(-inf, inf)")
    )


def test_integers_stay_integers_and_fractions_are_outside():
    inside, outside = sides("[1, inf)", integer=True)
    assert inside == [1, 10**6]
    assert all(type(value) is int for value in inside)
    assert outside == {0, 1.5} | BEYOND


@pytest.mark.parametrize("interval", ["0, 1", "[0 1]", "[1, 0]", "{0, 1}", "[a, b]", "[0, 1, 2]"])
def test_anything_else_is_refused(interval):
    with pytest.raises(ValueError, match="written like"):
        probes(interval)


@given(low=st.integers(-1000, 999), width=st.integers(1, 1000), left=st.sampled_from("[("), right=st.sampled_from("])"))
def test_probes_agree_with_the_definition(low, width, left, right):
    high = low + width
    for value, inside in probes(f"{left}{low}, {high}{right}"):
        above = low <= value if left == "[" else low < value
        below = value <= high if right == "]" else value < high
        assert inside == (above and below)
