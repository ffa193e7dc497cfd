"""Whole float64 runs against the papers' algorithms in Python floats."""

from math import sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rangerlite import RangerLite

PATHS = [{}, {"foreach": False}, {"foreach": True}, {"capturable": True}]


class Oracle:
    """RAdam (Liu et al. 2019, Algorithm 2) and Lookahead (Zhang et al. 2019, Algorithm 1) on one number.

    Written from the papers; weight decay is decoupled, and the momentum is treated as Lookahead's released code names.
    """

    def __init__(self, theta, lr, betas, eps, weight_decay, k, alpha, momentum="keep"):
        self.theta = self.slow = theta
        self.m = self.v = self.slow_m = 0.0
        self.t = 0
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay
        self.k, self.alpha, self.momentum = k, alpha, momentum

    def step(self, g):
        beta1, beta2 = self.betas
        self.t += 1
        self.theta -= self.lr * self.weight_decay * self.theta
        self.m = beta1 * self.m + (1 - beta1) * g
        self.v = beta2 * self.v + (1 - beta2) * g * g
        m_hat = self.m / (1 - beta1**self.t)
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * self.t * beta2**self.t / (1 - beta2**self.t)
        if length > 5:
            adaptive = sqrt(1 - beta2**self.t) / (sqrt(self.v) + self.eps)
            above = (length - 4) * (length - 2) * longest
            below = (longest - 4) * (longest - 2) * length
            self.theta -= self.lr * m_hat * sqrt(above / below) * adaptive
        else:
            self.theta -= self.lr * m_hat
        if self.t % self.k == 0:
            self.theta = self.slow = self.slow + self.alpha * (self.theta - self.slow)
            if self.momentum == "reset":
                self.m = 0.0
            if self.momentum == "pullback":
                self.m = self.slow_m = self.slow_m + self.alpha * (self.m - self.slow_m)


def run_both(groups, gradients, maximize=False, **path):
    """Return the largest difference between RangerLite and the oracle at any step.

    ``groups`` maps start values to settings; ``gradients[step][number]`` is None where a parameter gets none.
    """
    oracles = [
        Oracle(start, s["lr"], s["betas"], s["eps"], s["weight_decay"], s["k"], s["alpha"], s.get("momentum", "keep"))
        for start, s in groups
    ]
    tensors = [torch.tensor([start], dtype=torch.float64, requires_grad=True) for start, _ in groups]
    optimizer = RangerLite(
        [
            {
                "params": [tensor],
                "lr": s["lr"],
                "betas": s["betas"],
                "eps": s["eps"],
                "weight_decay": s["weight_decay"],
                "lookahead_steps": s["k"],
                "lookahead_alpha": s["alpha"],
                "lookahead_momentum": s.get("momentum", "keep"),
            }
            for tensor, (_, s) in zip(tensors, groups, strict=True)
        ],
        maximize=maximize,
        **path,
    )
    worst = 0.0
    for row in gradients:
        for tensor, oracle, g in zip(tensors, oracles, row, strict=True):
            tensor.grad = None if g is None else torch.tensor([g], dtype=torch.float64)
            if g is not None:
                oracle.step(-g if maximize else g)
        optimizer.step()
        for tensor, oracle in zip(tensors, oracles, strict=True):
            worst = max(worst, abs(tensor.item() - oracle.theta))
    return worst


number = st.floats(-3, 3).map(lambda x: round(x, 3))
group = st.fixed_dictionaries(
    {
        "lr": st.sampled_from([0.0, 1e-3, 0.1, 0.5]),
        "betas": st.tuples(st.sampled_from([0.0, 0.5, 0.9, 0.95]), st.sampled_from([0.0, 0.6, 0.9, 0.99, 0.999])),
        "eps": st.sampled_from([1e-8, 1e-5, 1e-3]),
        "weight_decay": st.sampled_from([0.0, 0.01, 0.3]),
        "k": st.integers(1, 9),
        "alpha": st.floats(0, 1),
        "momentum": st.sampled_from(["keep", "reset", "pullback"]),
    }
)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), maximize=st.booleans(), path=st.sampled_from(PATHS))
def test_any_run_follows_the_papers_within_1e_10(data, maximize, path):
    groups = data.draw(st.lists(st.tuples(number, group), min_size=1, max_size=3))
    gradients = data.draw(
        st.lists(st.tuples(*[st.one_of(st.none(), number, number) for _ in groups]), min_size=1, max_size=25)
    )
    assert run_both(groups, gradients, maximize, **path) <= 1e-10


DEFAULTS = {"lr": 1e-3, "betas": (0.95, 0.999), "eps": 1e-5, "weight_decay": 0.0, "k": 6, "alpha": 0.5}


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_the_defaults_follow_the_papers_for_500_steps(path, weight_decay):
    gradients = [[torch.sin(torch.tensor(0.7 * t + 0.1)).item()] for t in range(500)]
    assert run_both([(0.8, DEFAULTS | {"weight_decay": weight_decay})], gradients, **path) <= 1e-10


def test_a_parameter_without_gradient_is_left_alone_and_keeps_its_own_count():
    gradients = [[1.0, None if t % 3 else -1.0] for t in range(30)]
    assert run_both([(0.5, DEFAULTS), (-0.5, DEFAULTS | {"k": 2})], gradients) <= 1e-10


def test_the_oracle_would_notice_another_k():
    gradients = [[1.0 + t] for t in range(8)]
    start = [(0.5, DEFAULTS | {"lr": 0.1, "k": 4})]
    broken = Oracle(0.5, 0.1, (0.95, 0.999), 1e-5, 0.0, 5, 0.5)
    for (g,) in gradients:
        broken.step(g)
    tensor = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    optimizer = RangerLite([tensor], lr=0.1, lookahead_steps=4)
    for (g,) in gradients:
        tensor.grad = torch.tensor([g], dtype=torch.float64)
        optimizer.step()
    assert run_both(start, gradients) <= 1e-10
    assert abs(tensor.item() - broken.theta) > 1e-3
