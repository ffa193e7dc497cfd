import itertools
import math

import numpy as np
import pytest
from bench.report.statistics import bootstrap, holm, paired, verdict

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


def test_a_difference_needs_both_intervals_and_the_corrected_p():
    clear = paired([0.9, 1.0, 1.1, 1.0, 1.0])
    assert verdict(clear, clear.p) == "better"
    assert verdict(paired([-d for d in (0.9, 1.0, 1.1, 1.0, 1.0)]), clear.p) == "worse"
    assert verdict(clear, 0.051) == "tie"
    assert verdict(paired([-1.0, 1.0, 2.0, -0.5, 0.3]), 0.01) == "tie"
    assert verdict(None, 0.0) == "tie"


def test_fewer_than_five_pairs_decide_nothing():
    found = paired([1.0, 1.001, 0.999, 1.0])
    assert found.p < 1e-6
    assert verdict(found, found.p) == "tie"
