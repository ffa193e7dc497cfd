"""Two values are the same to the bit or the first difference is told with its place."""

import math
import re

import pytest
import torch
from testkit.sameness import difference

NAN = torch.tensor([math.nan, 1.0])
SAME = [
    (torch.ones(2, 3), torch.ones(2, 3)),
    (NAN, NAN.clone()),
    (torch.ones(0, 3), torch.ones(0, 3)),
    (torch.ones(()), torch.ones(())),
    (torch.ones(3, 2).t(), torch.ones(2, 3)),
    (torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16)),
    ({"a": [1, (2.0, None)]}, {"a": [1, (2.0, None)]}),
    ((1, 2), [1, 2]),
    (math.nan, math.nan),
]
OTHER = [
    (torch.ones(2), torch.ones(2).double(), "float64"),
    (torch.ones(2), torch.ones(2, 1), "shape"),
    (torch.tensor([0.0]), torch.tensor([-0.0]), "differs"),
    (torch.tensor([1.0, 1.0]), torch.tensor([1.0, 1.5]), "by up to 0.5"),
    (torch.tensor([1j]), torch.tensor([2j]), "by up to 1"),
    (torch.ones(2), [1.0, 1.0], "not"),
    ({"a": 1}, {"b": 1}, "keys"),
    ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, r"\['a'\]\['b'\]\[1\] is 2, not 3"),
    ([1], [1, 2], "1 entries, not 2"),
    (1, 1.0, "is 1, not 1.0"),
    (True, 1, "is True, not 1"),
]


@pytest.mark.parametrize(("came", "expected"), SAME)
def test_the_same_is_the_same(came, expected):
    assert difference(came, expected) == ""


@pytest.mark.parametrize(("came", "expected", "told"), OTHER)
def test_a_difference_is_told(came, expected, told):
    assert re.search(told, difference(came, expected))


def test_one_bit_in_a_million_is_found():
    expected = torch.ones(1_000_000)
    came = expected.clone()
    came[777_777] = torch.nextafter(came[0], torch.tensor(2.0))
    assert "differs by up to 1.19e-07" in difference({"w": came}, {"w": expected})
