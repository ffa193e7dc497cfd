"""The equations against an oracle in Python floats, and their identities."""

import math
import re
from pathlib import Path

import pytest
import torch
from thermolion import ThermoLion, _equations
from torch.nn import Parameter

PATHS = [{}, {"foreach": False, "fused": False}, {"foreach": True}]


def oracle(theta, gradients, lr, beta1, beta2, decay, eps):
    m = v = 0.0
    for g in gradients:
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        a = m / (math.sqrt(v) + eps)
        q = math.tanh(abs(a))
        sign, of_g = math.copysign(1, m), math.copysign(1, g)
        s = sign * (1 + 0.5 * min(max(sign * of_g, 0), 1))
        theta = (1 - lr * decay) * theta - lr * ((1 - q) * s + 2 * q * a)
    return theta


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_a_cold_run_follows_the_equations(path):
    gradients = [0.3, -1.2, 0.7, 0.05, -0.4]
    param = Parameter(torch.tensor([0.8], dtype=torch.float64))
    optimizer = ThermoLion([param], lr=0.1, betas=(0.8, 0.95), temp_decay=1e-3, weight_decay=0.2, eps=1e-6, **path)
    for g in gradients:
        param.grad = torch.tensor([g], dtype=torch.float64)
        optimizer.step()
    assert param.item() == pytest.approx(oracle(0.8, gradients, 0.1, 0.8, 0.95, 0.2, 1e-6), rel=1e-12)


def test_a_checkpoint_of_0_1_0_continues():
    param = Parameter(torch.ones(4, dtype=torch.float64))
    m, v = torch.full((4,), 0.1, dtype=torch.float64), torch.full((4,), 0.2, dtype=torch.float64)
    optimizer = ThermoLion([param])
    group = {"lr": 0.1, "betas": (0.9, 0.99), "temp_decay": 0.9, "weight_decay": 0.01, "eps": 1e-8, "params": [0]}
    optimizer.load_state_dict({"state": {0: {"step": 3, "m": m, "v": v, "temp": 0.729}}, "param_groups": [group]})
    param.grad = torch.ones(4, dtype=torch.float64)
    optimizer.step()
    state = optimizer.state[param]
    assert state["step"] == 4
    assert state["temp"] == 0.9 * 0.729
    assert state["v_mean"].item() == pytest.approx(0.2 * 0.99 + 0.01, rel=1e-12)


def test_the_readme_numbers_the_equations_as_the_code_does():
    pattern = r"^\s*(?:if T > 0.01:)?.*?(?:←|=).*\((\d)\)"
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    here = re.findall(pattern, readme.split("## Equations")[1].split("σ =")[0], flags=re.MULTILINE)
    there = re.findall(pattern, _equations.__doc__.split("v̄ is")[0], flags=re.MULTILINE)
    assert here == there == list("123456789")
