"""Factors that a kernel draws where it needs them are the ones that are drawn beforehand, to the bit."""

import copy

import pytest
import torch
from torch import nn
from torcheggroll import TorchEggrollES
from torcheggroll._ops import fused_cpu
from torcheggroll.noise import fused_cpu as noise
from torcheggroll.noise.model import ModelNoise
from torcheggroll.noise.undrawn import InKernels

pytestmark = pytest.mark.skipif(fused_cpu.kernels() is None, reason="needs a C++ compiler")
CASES = [
    # n, m, rank, rows, members, chunk, noise, antithetic, biased, dtype
    (1024, 1024, 1, 1, 24, 24, "gaussian", True, False, torch.float32),
    (1000, 777, 3, 2, 26, 26, "gaussian", True, True, torch.float32),
    (37, 5, 2, 3, 14, 7, "uniform", False, True, torch.float64),
    (513, 600, 4, 1, 30, 7, "rademacher", True, True, torch.float32),
    (600, 513, 1, 4, 18, 18, "gaussian", True, True, torch.float64),
]


@pytest.fixture
def fills(monkeypatch):
    """Lets kernels draw whatever the size, and counts the draws that go to memory."""
    monkeypatch.setattr(fused_cpu, "_SPILL", 0)
    counted, fill = [], noise.fill

    def counting(out, *rest):
        counted.append(out.shape[1])
        fill(out, *rest)

    monkeypatch.setattr(noise, "fill", counting)
    return counted


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(40, 40, bias=False)

    def forward(self, x):
        return self.layer(torch.tanh(self.layer(x)))


def optimizer(model, members=12, **settings):
    return TorchEggrollES(model, members, sigma=0.1, seed=3, engine="fold", **settings)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_member_is_the_same_whoever_draws_its_factors(case, fills):
    n, m, rank, rows, members, chunk, kind, antithetic, biased, dtype = case
    torch.manual_seed(0)
    model, x = nn.Linear(n, m, bias=biased).to(dtype), torch.randn(members, rows, n, dtype=dtype)
    es = optimizer(model, members, rank=rank, noise=kind, antithetic=antithetic, chunk_size=chunk)
    with es.held():
        drawn = es.forward(x, per_member=True)
    es.forward(x, per_member=True)  # learns that the kernel would have drawn them
    fills.clear()
    assert torch.equal(es.forward(x, per_member=True), drawn)
    assert max(fills, default=0) < m + n, "factors went to memory"
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert torch.equal(es.forward(x, per_member=True), drawn)
    finally:
        torch.set_num_threads(before)


def test_a_factor_that_is_used_twice_is_drawn_once(fills):
    es, x = optimizer(Twice()), torch.randn(12, 1, 40)
    first = es.forward(x, per_member=True)
    for _ in range(4):
        assert torch.equal(es.forward(x, per_member=True), first)
    fills.clear()
    es.forward(x, per_member=True)
    assert len(fills) == 1


def test_steps_with_many_samples_draw_all_factors_in_one_call(fills):
    es = optimizer(nn.Sequential(nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 3)), chunk_size=12)
    x = torch.randn(12, 8, 40)
    es.forward(x, per_member=True)
    fills.clear()
    es.forward(x, per_member=True)
    assert len(fills) == 1


def test_whoever_reads_undrawn_factors_gets_them():
    model = nn.Sequential(nn.Linear(40, 30), nn.Linear(30, 20))
    es = optimizer(copy.deepcopy(model))
    members = list(range(12))
    drawn = ModelNoise(es.parameters)
    with drawn.cached():
        expected = drawn.deltas(es._draw(), members)
    es.model_noise._in_kernels.choose(0)
    found = es.model_noise.deltas(es._draw(), members)
    assert [d.members for d in found] == [12] * 4
    assert [d.size for d in found] == [d.size for d in expected]
    for own, other in zip(found, expected, strict=True):
        assert all(a is b is None or torch.equal(a, b) for a, b in zip(own, other, strict=True))
    assert 0 not in es.model_noise._in_kernels, "what is read as a tensor is drawn with the others from then on"


def test_what_was_refused_is_not_chosen_again():
    chosen = InKernels()
    chosen.choose(3)
    assert 3 in chosen
    chosen.drop(3)
    assert 3 not in chosen
    chosen.choose(3)
    chosen.refuse(3)
    chosen.choose(3)
    assert 3 not in chosen


def test_weights_after_steps_do_not_depend_on_who_draws(fills, monkeypatch):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 30), nn.Tanh(), nn.Linear(30, 5))
    x, y = torch.randn(12, 2, 40), torch.randn(12, 2, 5)

    def trained():
        own = copy.deepcopy(model)
        es = optimizer(own, audit_every=2, chunk_size=4)
        for _ in range(5):
            es.step(x, nn.functional.mse_loss, y, per_member=True)
        return es, torch.cat([p.detach().flatten() for p in own.parameters()])

    es, drawn_in_kernels = trained()
    assert 0 in es.model_noise._in_kernels
    monkeypatch.setattr(fused_cpu, "_FEW", 0)
    es, drawn = trained()
    assert 0 not in es.model_noise._in_kernels
    assert torch.equal(drawn_in_kernels, drawn)
