"""The equations of the search for a learning rate, against oracles in Python floats."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pulseopt._maths.rate_search import alignment, anneal, is_found, mean_alignment, next_multiplier


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=9))
def test_the_alignment_is_the_cosine_with_the_last_update(pairs):
    g, u = zip(*pairs, strict=True)
    lengths = math.hypot(*g) * math.hypot(*u)
    expected = -math.fsum(a * b for a, b in pairs) / lengths if lengths > 0 else 0.0
    flat = [torch.tensor(values, dtype=torch.float64) for values in (g, u)]
    sums = [torch.stack([value, torch.zeros(())]) for value in (-flat[0] @ flat[1], flat[0].norm(), flat[1].norm())]
    got = alignment(*sums).item()  # beside a tensor that has not moved
    assert got == pytest.approx(expected, abs=1e-9) or lengths < 1e-100


@pytest.mark.parametrize(
    ("q", "factor"), [(0.5, 2.0), (0.13, math.sqrt(2)), (0.05, 1.0), (0.0, math.sqrt(0.5)), (-0.2, 0.5), (0.11, 1.4142)]
)
def test_the_factor_moves_to_the_nearest_step_on_a_log_scale(q, factor):
    steps = [2.0 ** (k / 2) for k in range(-2, 3)]
    target = 5 * (q - 0.05)
    nearest = min(steps, key=lambda f: abs(math.log(f) - target))
    assert next_multiplier(3.0, q) == pytest.approx(3.0 * nearest) == pytest.approx(3.0 * factor, rel=1e-3)


def test_the_search_ends_with_its_share_of_the_run():
    assert not is_found(1, 29, 100)
    assert is_found(0, 30, 100)


def test_an_episode_without_finite_alignments_has_no_mean():
    assert mean_alignment([math.nan, math.inf]) is None


@given(st.integers(1, 300), st.floats(0.01, 1.0))
def test_the_annealing_is_one_then_falls_linearly_and_never_to_zero(total, share):
    factors = [anneal(step, total, share) for step in range(total + 3)]
    assert all(0.0 < f <= 1.0 for f in factors)
    assert all(a >= b for a, b in itertools.pairwise(factors))
    for step in range(total):
        left = (total - step) / (share * total)
        assert factors[step] == pytest.approx(min(1.0, left))
    assert anneal(5, total, 0.0) == 1.0
