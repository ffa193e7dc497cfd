import math

import pytest
from bench.report.statistics import bootstrap, holm, incomplete_beta, paired, t_cdf, t_quantile, verdict

# Student's t, two-sided 95 % and 99 %, from printed tables
TABLE = [(1, 12.706, 63.657), (2, 4.303, 9.925), (4, 2.776, 4.604), (9, 2.262, 3.250), (30, 2.042, 2.750)]


@pytest.mark.parametrize(("nu", "at_95", "at_99"), TABLE)
def test_t_quantiles_are_those_of_the_tables(nu, at_95, at_99):
    assert t_quantile(0.975, nu) == pytest.approx(at_95, abs=6e-4)
    assert t_quantile(0.995, nu) == pytest.approx(at_99, abs=6e-4)


@pytest.mark.parametrize("nu", [1, 3, 8, 50])
@pytest.mark.parametrize("t", [-3.0, -0.4, 0.0, 1.3, 4.0])
def test_the_distribution_is_symmetric_and_the_quantile_undoes_it(t, nu):
    assert t_cdf(t, nu) + t_cdf(-t, nu) == pytest.approx(1, abs=1e-12)
    assert t_quantile(t_cdf(t, nu), nu) == pytest.approx(t, abs=1e-6)


def test_one_degree_of_freedom_is_the_cauchy_distribution():
    for t in (0.3, 1.0, 5.0):
        assert t_cdf(t, 1) == pytest.approx(0.5 + math.atan(t) / math.pi, abs=1e-12)


def test_the_incomplete_beta_has_its_closed_forms():
    assert incomplete_beta(0.3, 1, 1) == pytest.approx(0.3, abs=1e-13)
    assert incomplete_beta(0.3, 2, 1) == pytest.approx(0.09, abs=1e-13)
    assert incomplete_beta(0.3, 2, 3) == pytest.approx(0.3483, abs=1e-12)


def test_a_paired_t_test_by_hand():
    found = paired([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.mean == 3
    assert found.t_high - found.mean == pytest.approx(2.776445 * math.sqrt(2.5) / math.sqrt(5), rel=1e-6)
    assert found.p == pytest.approx(0.013236, abs=1e-5)  # t = 4.2426, 4 degrees of freedom


def test_one_pair_is_no_comparison_and_equal_pairs_are_no_difference():
    assert paired([0.3]) is None
    assert paired([0.0] * 5).p == 1
    assert paired([0.1] * 5).p == 0


def test_the_bootstrap_of_few_values_is_exact():
    low, high = bootstrap([0.0, 1.0])  # means 0, ½, ½, 1
    assert (low, high) == (pytest.approx(0.0375), pytest.approx(0.9625))
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


def test_a_probability_outside_its_range_is_refused():
    with pytest.raises(ValueError, match=r"\(0, 1\)"):
        t_quantile(1.0, 3)
