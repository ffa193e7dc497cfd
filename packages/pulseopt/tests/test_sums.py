"""Sums that round once an addition, as release 0.1.0 computed them."""

import math
import random

from pulseopt._maths.sums import plain_sum


def test_sums_round_once_an_addition():
    draw = random.Random(0)
    values = [draw.uniform(-1, 1) * 10 ** draw.randint(-8, 8) for _ in range(500)]
    total = 0.0
    for value in values:
        total = total + value
    assert plain_sum(values) == total != math.fsum(values)
