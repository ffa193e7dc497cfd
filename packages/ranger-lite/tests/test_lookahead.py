"""The pull back against the paper's Algorithm 1, and its two paths against each other."""

from copy import deepcopy

import pytest
import torch
from rangerlite._lookahead import pull_back, pull_back_fast, pull_back_where


def algorithm_1(theta, visited, alpha):
    """Lookahead on one number, in Python floats, written from the paper."""
    phi = theta
    for theta in visited:
        phi = phi + alpha * (theta - phi)
    return phi


def reference(fast, slow, alpha):
    for theta, phi in zip(fast, slow, strict=True):
        pull_back(theta, phi, alpha)


def in_graph(fast, slow, alpha):
    for theta, phi in zip(fast, slow, strict=True):
        pull_back_where(torch.tensor(True), theta, phi, alpha)


@pytest.mark.parametrize("path", [reference, pull_back_fast, in_graph])
@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_slow_weights_follow_algorithm_1(path, alpha):
    fast = torch.tensor([2.0], dtype=torch.float64)
    slow = fast.clone()
    for theta in (1.0, -3.0, 0.5):
        path([fast.fill_(theta)], [slow], alpha)
        assert torch.equal(fast, slow)
    assert fast.item() == pytest.approx(algorithm_1(2.0, [1.0, -3.0, 0.5], alpha), rel=1e-12)


@pytest.mark.parametrize("other", [pull_back_fast, in_graph])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.complex64])
def test_all_paths_agree_to_the_bit(dtype, alpha, other):
    fast, slow = ([torch.randn(s, dtype=dtype) for s in [(3,), (4, 5), (), (0,)]] for _ in range(2))
    fast_copy, slow_copy = deepcopy(fast), deepcopy(slow)
    reference(fast, slow, alpha)
    other(fast_copy, slow_copy, alpha)
    assert all(map(torch.equal, fast + slow, fast_copy + slow_copy))


def test_alpha_1_only_lets_the_slow_weights_follow():
    fast, slow = torch.randn(1000), torch.randn(1000)
    before = fast.clone()
    pull_back(fast, slow, 1.0)
    assert torch.equal(fast, before)
    assert torch.equal(slow, before)


def test_alpha_0_returns_to_the_slow_weights():
    fast, slow = torch.randn(1000), torch.randn(1000)
    before = slow.clone()
    pull_back(fast, slow, 0.0)
    assert torch.equal(fast, before)
    assert torch.equal(slow, before)


def test_inside_a_graph_nothing_moves_when_it_is_not_due():
    fast, slow = torch.randn(10), torch.randn(10)
    before = (fast.clone(), slow.clone())
    pull_back_where(torch.tensor(False), fast, slow, 0.5)
    assert torch.equal(fast, before[0])
    assert torch.equal(slow, before[1])
