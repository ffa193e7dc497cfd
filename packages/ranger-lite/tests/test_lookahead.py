"""The pull back against the paper's Algorithm 1, and its forms against each other."""

from copy import deepcopy

import pytest
import torch
from rangerlite._batch import Batch
from rangerlite._lookahead import MOMENTA, LookaheadConfig, pull_back, swapped_in


def algorithm_1(theta, visited, alpha):
    """Lookahead on one number, in Python floats, written from the paper."""
    phi = theta
    for theta in visited:
        phi = phi + alpha * (theta - phi)
    return phi


def on_lists(fast, slow, alpha, momentum="keep", due=None):
    batch = Batch.empty()._replace(theta=fast, phi=slow, m=fast, mu=slow)
    pull_back(batch, LookaheadConfig(1, alpha, momentum), due)


def one_by_one(fast, slow, alpha):
    for theta, phi in zip(fast, slow, strict=True):
        on_lists([theta], [phi], alpha)


def in_graph(fast, slow, alpha):
    on_lists(fast, slow, alpha, due=torch.tensor(True))


@pytest.mark.parametrize("path", [one_by_one, on_lists, in_graph])
@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_slow_weights_follow_algorithm_1(path, alpha):
    fast = torch.tensor([2.0], dtype=torch.float64)
    slow = fast.clone()
    for theta in (1.0, -3.0, 0.5):
        path([fast.fill_(theta)], [slow], alpha)
        assert torch.equal(fast, slow)
    assert fast.item() == pytest.approx(algorithm_1(2.0, [1.0, -3.0, 0.5], alpha), rel=1e-12)


@pytest.mark.parametrize("other", [on_lists, in_graph])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.complex64])
def test_all_paths_agree_to_the_bit(dtype, alpha, other):
    fast, slow = ([torch.randn(s, dtype=dtype) for s in [(3,), (4, 5), (), (0,)]] for _ in range(2))
    fast_copy, slow_copy = deepcopy(fast), deepcopy(slow)
    one_by_one(fast, slow, alpha)
    other(fast_copy, slow_copy, alpha)
    assert all(map(torch.equal, fast + slow, fast_copy + slow_copy))


def test_alpha_1_only_lets_the_slow_weights_follow():
    fast, slow = torch.randn(1000), torch.randn(1000)
    before = fast.clone()
    on_lists([fast], [slow], 1.0)
    assert torch.equal(fast, before)
    assert torch.equal(slow, before)


def test_alpha_0_returns_to_the_slow_weights():
    fast, slow = torch.randn(1000), torch.randn(1000)
    before = slow.clone()
    on_lists([fast], [slow], 0.0)
    assert torch.equal(fast, before)
    assert torch.equal(slow, before)


def test_inside_a_graph_nothing_moves_when_it_is_not_due():
    fast, slow = torch.randn(10), torch.randn(10)
    before = (fast.clone(), slow.clone())
    on_lists([fast], [slow], 0.5, due=torch.tensor(False))
    assert torch.equal(fast, before[0])
    assert torch.equal(slow, before[1])


@pytest.mark.parametrize("due", [None, torch.tensor(True)], ids=["known", "in a graph"])
@pytest.mark.parametrize("momentum", MOMENTA)
def test_the_momentum_is_kept_reset_or_pulled_back(momentum, due):
    theta, phi, mu = (torch.randn(5) for _ in range(3))
    m = torch.tensor([1.0, -2.0, 0.0, float("inf"), float("nan")])
    expected = {"keep": m.clone(), "reset": torch.zeros(5), "pullback": mu + 0.25 * (m - mu)}[momentum]
    batch = Batch.empty()._replace(theta=[theta], phi=[phi], m=[m], mu=[mu])
    pull_back(batch, LookaheadConfig(1, 0.25, momentum), due)
    torch.testing.assert_close(m, expected, equal_nan=True)
    if momentum == "pullback":
        torch.testing.assert_close(mu, expected, equal_nan=True)


def test_the_momentum_is_left_alone_where_no_pull_back_is_due():
    for momentum in MOMENTA:
        m = torch.randn(5)
        before = m.clone()
        batch = Batch.empty()._replace(theta=[torch.randn(5)], phi=[torch.randn(5)], m=[m], mu=[torch.randn(5)])
        pull_back(batch, LookaheadConfig(1, 0.25, momentum), torch.tensor(False))
        assert torch.equal(m, before)


class TestSwappedIn:
    def test_values_come_and_go_to_the_bit(self):
        p, value = torch.tensor([1.0, -0.0, float("nan")]), torch.tensor([2.0, 3.0, 4.0])
        before = p.clone()
        with swapped_in([p], [value]):
            assert torch.equal(p, value)
            p.fill_(9.0)
        assert torch.equal(p.view(torch.int32), before.view(torch.int32))
        assert torch.equal(value, torch.tensor([2.0, 3.0, 4.0]))

    def test_they_go_after_an_exception(self):
        p = torch.ones(2)
        with pytest.raises(KeyError), swapped_in([p], [torch.zeros(2)]):
            raise KeyError
        assert torch.equal(p, torch.ones(2))
