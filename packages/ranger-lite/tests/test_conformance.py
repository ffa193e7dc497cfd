"""The test kit's checks, on every path."""

import pytest
import torch
from rangerlite import RangerLite

testkit = pytest.importorskip("testkit", reason="needs the workspace's test kit")

CONTRACT = testkit.Contract(
    intervals={
        "lr": "[0, inf)",
        "betas[0]": "[0, 1)",
        "betas[1]": "[0, 1)",
        "eps": "[0, inf)",
        "weight_decay": "[0, inf)",
        "lookahead_steps": "[1, inf)",
        "lookahead_alpha": "[0, 1]",
    },
    integers=["lookahead_steps"],
    overrides={"lookahead_steps": 4, "lookahead_alpha": 0.9},
    complex="supported",
    dtypes=(torch.float64, torch.float32, torch.bfloat16, torch.float16),
)
CASES = [
    testkit.Case("defaults", RangerLite, contract=CONTRACT),
    testkit.Case("pulled back at every step", RangerLite, contract=CONTRACT, lookahead_steps=1),
    testkit.Case(
        "momentum pulled back", RangerLite, contract=CONTRACT, lookahead_steps=3, lookahead_momentum="pullback"
    ),
    testkit.Case("reference path", RangerLite, contract=CONTRACT, foreach=False, weight_decay=0.1),
    testkit.Case("lists", RangerLite, contract=CONTRACT, foreach=True, lookahead_steps=2),
    testkit.Case("capturable", RangerLite, contract=CONTRACT, capturable=True, lookahead_steps=2),
    testkit.Case("fused", RangerLite, contract=CONTRACT, fused=True, lookahead_steps=2, lookahead_momentum="reset"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("check", testkit.CHECKS, ids=lambda check: check.__name__)
def test_passes_the_check(check, case):
    check(case)
