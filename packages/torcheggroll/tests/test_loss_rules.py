"""Losses that are evaluated otherwise for many members are torch's own, whatever their arguments."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torcheggroll import TorchEggrollES
from torcheggroll._evaluate import loss_rules
from torcheggroll._evaluate.loss_rules import cross_entropy_rule

ARGUMENTS = [
    {}, {"reduction": "sum"}, {"ignore_index": 2}, {"weight": torch.rand(7) + 0.1}, {"label_smoothing": 0.1},
    {"weight": torch.rand(7) + 0.1, "ignore_index": 0, "reduction": "sum"}, {"size_average": False},
]  # fmt: skip


def by_hand(logits, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0, size_average=None):
    """The cross entropy in Python floats."""
    total = norm = 0.0
    for row, own in zip(logits.double().tolist(), target.tolist(), strict=True):
        if own == ignore_index:
            continue
        top = max(row)
        lse = top + torch.tensor([v - top for v in row], dtype=torch.float64).exp().sum().log().item()
        w = [1.0] * len(row) if weight is None else weight.double().tolist()
        total += (1 - label_smoothing) * w[own] * (lse - row[own])
        total += label_smoothing / len(row) * sum(a * (lse - v) for a, v in zip(w, row, strict=True))
        norm += w[own]
    return total if reduction == "sum" or size_average is False else total / norm


@pytest.mark.filterwarnings("ignore:size_average")
@pytest.mark.parametrize("arguments", ARGUMENTS, ids=lambda given: " ".join(given) or "plain")
def test_cross_entropy_is_that_of_each_member(arguments):
    x, y = 30 * torch.randn(5, 9, 7), torch.randint(0, 7, (5, 9))
    got = torch.func.vmap(lambda a, b: cross_entropy_rule(None, a, b, **arguments))(x, y)
    expected = [by_hand(a, b, **arguments) for a, b in zip(x, y, strict=True)]
    torch.testing.assert_close(got.double(), torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (torch.randn(9, 7), torch.rand(9, 7)),
        (torch.randn(9, 7, 4), torch.randint(0, 7, (9, 4))),
        (torch.randn(7), torch.tensor(3)),
        (torch.randn(9, 40), torch.randint(0, 40, (9,))),
        (torch.randn(9, 7, dtype=torch.bfloat16), torch.randint(0, 7, (9,))),
    ],
    ids=["probabilities", "positions", "one sample", "many classes", "bfloat16"],
)
def test_what_the_rule_does_not_cover_is_left_to_torch(x, y):
    assert torch.equal(cross_entropy_rule(None, x, y), functional.cross_entropy(x, y))


@pytest.mark.parametrize("bad", [-1, 7])
def test_a_target_out_of_range_is_refused(bad):
    es = TorchEggrollES(nn.Linear(3, 7), 4, seed=0, engine="fold")
    x, y = torch.randn(5, 3), torch.tensor([0, 1, bad, 2, 3])
    with pytest.raises((IndexError, RuntimeError), match=r"out of (bounds|range)"):
        es.step(x, functional.cross_entropy, y)


@pytest.mark.parametrize("engine", ["fold", "vmap"])
def test_steps_take_the_rule_and_lead_where_the_loop_leads(engine, monkeypatch):
    calls, softmax = [], loss_rules.torch.log_softmax

    def seen(x, dim):
        calls.append(dim)
        return softmax(x, dim)

    monkeypatch.setattr(loss_rules.torch, "log_softmax", seen)
    weights = {}
    for name in (engine, "loop"):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
        es = TorchEggrollES(model, 8, seed=1, engine=name)
        x, y = torch.randn(8, 13, 6), torch.randint(0, 4, (8, 13))
        for _ in range(3):
            es.step(x, functional.cross_entropy, y, per_member=True)
        weights[name] = torch.cat([p.detach().flatten() for p in model.parameters()])
        assert bool(calls) == (name == engine)
        calls.clear()
    torch.testing.assert_close(weights[engine], weights["loop"], rtol=1e-4, atol=1e-5)
