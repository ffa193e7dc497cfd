"""The test kit's checks, on every path."""

import shutil
from importlib.util import find_spec

import pytest
import torch
from thermolion import ThermoLion

testkit = pytest.importorskip("testkit", reason="needs the workspace's test kit")

INTERVALS = {
    "lr": "[0, inf)",
    "betas[0]": "[0, 1)",
    "betas[1]": "[0, 1)",
    "temp_decay": "(0, 1]",
    "weight_decay": "[0, inf)",
    "eps": "(0, inf)",
}
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
CONTRACT = testkit.Contract(
    intervals=INTERVALS,
    complex="supported",
    dtypes=DTYPES,
    fast=[{"foreach": True, "fused": False}, {}],
)
GLOBAL = testkit.Contract(
    intervals=INTERVALS, complex="supported", draws_from_global_stream=True, dtypes=DTYPES, noise_follows_layout=True
)


def from_the_global_stream(params, **settings):
    torch.manual_seed(11)
    return ThermoLion(params, noise="global", **settings)


def fused_cases():
    ninja = shutil.which("ninja") or find_spec("ninja")
    if not (shutil.which("c++") and ninja and find_spec("setuptools")):
        return []  # nothing to compile with
    return [
        testkit.Case("fused", ThermoLion, contract=CONTRACT, fused=True),
        testkit.Case("fused, cold", ThermoLion, contract=CONTRACT, fused=True, temp_decay=0.001, lr=0.02),
    ]


CASES = [
    testkit.Case("defaults", ThermoLion, contract=CONTRACT),
    testkit.Case("cold", ThermoLion, contract=CONTRACT, temp_decay=0.001, lr=0.02),
    testkit.Case("reference path", ThermoLion, contract=CONTRACT, foreach=False, fused=False, lr=0.02),
    testkit.Case("foreach", ThermoLion, contract=CONTRACT, foreach=True, lr=0.02),
    *fused_cases(),
    testkit.Case("capturable", ThermoLion, contract=CONTRACT, capturable=True),
    testkit.Case("stochastic rounding", ThermoLion, contract=CONTRACT, stochastic_rounding=True),
    testkit.Case("float32 state, climbing", ThermoLion, contract=CONTRACT, state_dtype=torch.float32, maximize=True),
    testkit.Case("0.1.0's noise", from_the_global_stream, contract=GLOBAL),
]


INTERLEAVED = {"the_closure_is_called_once", "complex_equals_its_real_view"}  # step two optimizers in turn


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("check", testkit.CHECKS, ids=lambda check: check.__name__)
def test_passes_the_check(check, case):
    if case.contract is GLOBAL and check.__name__ in INTERLEAVED:
        pytest.skip("two runs in turn cannot share one global stream")
    check(case)
