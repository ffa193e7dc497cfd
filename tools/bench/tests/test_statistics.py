import itertools
import math

import numpy as np
import pytest
from bench.report.statistics import average_ranks, bootstrap, holm, paired, verdict

# Student's t, two-sided 95 %, from printed tables
TABLE = [(1, 12.706), (2, 4.303), (4, 2.776), (9, 2.262), (30, 2.042)]


@pytest.mark.parametrize(("nu", "at_95"), TABLE)
def test_the_interval_is_that_of_the_printed_tables(nu, at_95):
    values = [math.sin(7 * i) for i in range(nu + 1)]
    mean = sum(values) / len(values)
    error = math.sqrt(sum((v - mean) ** 2 for v in values) / nu / len(values))
    found = paired(values)
    assert (found.t_high - mean) / error == pytest.approx(at_95, abs=6e-4)
    assert (mean - found.t_low) / error == pytest.approx(at_95, abs=6e-4)


def test_a_paired_t_test_by_hand():
    found = paired([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.mean == 3
    assert found.t_high - found.mean == pytest.approx(2.776445 * math.sqrt(2.5) / math.sqrt(5), rel=1e-6)
    assert found.p == pytest.approx(0.013236, abs=1e-5)  # t = 4.2426, 4 degrees of freedom


def test_one_pair_is_no_comparison_and_equal_pairs_are_no_difference():
    assert paired([0.3]) is None
    assert paired([0.0] * 5).p == 1
    assert paired([0.1] * 5).p == 0


def test_the_bootstrap_of_few_values_is_that_of_all_resamples():
    values = [0.0, 1.0, 5.0, 2.0]
    means = np.sort([np.mean(some) for some in itertools.product(values, repeat=4)])
    assert bootstrap(values) == pytest.approx(np.quantile(means, [0.025, 0.975]).tolist(), abs=0.26)
    assert bootstrap([2.0] * 4) == (2.0, 2.0)


def test_the_bootstrap_of_many_values_does_not_depend_on_the_day():
    values = [math.sin(i) for i in range(10)]
    assert bootstrap(values) == bootstrap(values)
    low, high = bootstrap(values)
    assert low < sum(values) / 10 < high


def test_holm_as_in_the_textbook():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


CLEAR = paired([0.9, 1.0, 1.1, 1.0, 1.0])


def test_the_four_verdicts():
    assert verdict(CLEAR, CLEAR.p, margin=0.1) == "better"
    assert verdict(paired([-d for d in (0.9, 1.0, 1.1, 1.0, 1.0)]), CLEAR.p, margin=0.1) == "worse"
    assert verdict(CLEAR, 0.051, margin=0.1) == "undecided"
    assert verdict(paired([-1.0, 1.0, 2.0, -0.5, 0.3]), 0.01, margin=0.1) == "undecided"
    assert verdict(paired([-1.0, 1.0, 2.0, -0.5, 0.3]), 0.01, margin=5.0) == "equivalent"
    assert verdict(CLEAR, CLEAR.p, margin=1.2) == "equivalent"  # a difference, and one that does not matter
    assert verdict(None, 0.0, margin=1.0) == "undecided"


def test_fewer_than_five_pairs_decide_nothing():
    found = paired([1.0, 1.001, 0.999, 1.0])
    assert found.p < 1e-6
    assert verdict(found, found.p, margin=0.1) == verdict(found, found.p, margin=9.0) == "undecided"


def test_the_difference_that_could_have_been_found_is_found_in_four_of_five_cases():
    n, generator, hits = 10, np.random.default_rng(0), 0
    detectable = np.mean([paired(generator.normal(0, 1, n).tolist()).detectable for _ in range(200)])
    for _ in range(400):
        found = paired(generator.normal(detectable, 1, n).tolist())
        hits += found.t_low > 0
    assert 0.7 < hits / 400 < 0.9


def test_average_ranks_count_ties_half_and_follow_the_order():
    scores = [np.array([[3.0, 3.1], [2.0, 2.1], [2.0, 2.1]]), np.array([[1.0, 1.0], [5.0, 5.0], [0.0, 0.0]])]
    ranks = average_ranks(scores)
    assert [rank.mean for rank in ranks] == [1.5, 1.75, 2.75]
    assert all(rank.low <= rank.mean <= rank.high for rank in ranks)
    noisy = np.random.default_rng(1).normal(size=(4, 30))
    assert average_ranks([noisy]) == average_ranks([noisy])
    assert all(rank.low < rank.high for rank in average_ranks([noisy]))
