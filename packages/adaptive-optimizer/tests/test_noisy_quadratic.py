"""The noisy quadratic of the examples: never far above the best constant rate, and no divergence just above 2/L."""

import importlib.util
import json
import math
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1]
RECORDS = PACKAGE.parents[1] / "docs" / "records" / "adaptive_quadratic.jsonl"
PAGE = PACKAGE.parents[1] / "docs" / "packages" / "adaptive-optimizer.md"


@pytest.fixture(scope="module")
def quadratic():
    spec = importlib.util.spec_from_file_location("noisy_quadratic", PACKAGE / "examples" / "noisy_quadratic.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def records():
    if not RECORDS.exists():
        pytest.skip("needs the repository's records")
    return [json.loads(line) for line in RECORDS.read_text(encoding="utf-8").splitlines()]


def test_just_above_two_over_l_the_controller_keeps_it_from_diverging(quadratic):
    assert quadratic.final_loss("condition 10", 2.1, 0, adapted=False) == math.inf
    assert quadratic.final_loss("condition 10", 2.1, 0, adapted=True) < 0.02


def test_a_record_of_the_page_is_what_the_example_computes(quadratic, records):
    found = [r for r in records if (r["problem"], r["method"], r["lr"], r["seed"]) == ("condition 10", "trend", 0.1, 3)]
    assert found[0]["loss"] == pytest.approx(quadratic.final_loss("condition 10", 0.1, 3, adapted=True), rel=1e-3)


def test_the_table_of_the_page_is_that_of_the_records(quadratic, records):
    for problem in quadratic.SMALLEST:
        assert quadratic.table(records, problem) in PAGE.read_text(encoding="utf-8")


def test_trend_stays_within_twice_the_best_constant_rate_among_neighbours(quadratic, records):
    rows = quadratic.table(records, "condition 10").splitlines()[2:]
    assert len(rows) == 5
    assert len([r for r in records if r["problem"] == "condition 10"]) == 5 * 2 * 20
    assert all(float(row.split("|")[5]) <= 2 for row in rows)
