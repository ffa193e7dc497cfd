"""What all members see is multiplied once for all chunks, and only for as long as it is the same."""

import pytest
import torch
from torch import nn
from torcheggroll import TorchEggrollES
from torcheggroll._evaluate import shared
from torcheggroll._evaluate.shared import SharedProducts
from torcheggroll._ops.linear import base_product


@pytest.fixture
def products(monkeypatch):
    made = []
    monkeypatch.setattr(shared, "base_product", lambda *given: made.append(given[1].shape) or base_product(*given))
    return made


def test_one_product_serves_every_chunk_of_a_shared_input(products):
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 3))
    es = TorchEggrollES(model, pop_size=16, seed=0, engine="fold", chunk_size=4)
    x = torch.randn(6, 3, 4)
    es.forward(x)
    products.clear()
    several = es.forward(x)
    assert products == [(5, 12)], "the second layer's input is each member's own"
    assert torch.equal(several, TorchEggrollES(model, pop_size=16, seed=0, engine="fold", chunk_size=16).forward(x))


def test_weights_that_moved_between_evaluations_are_seen(products):
    model = nn.Linear(4, 3)
    es = TorchEggrollES(model, pop_size=4, seed=0, engine="fold", sigma=1e-4)
    x = torch.randn(5, 4)
    es.forward(x)
    with torch.no_grad():
        model.weight.data.zero_()
        model.bias.data.zero_()
    assert es.forward(x).abs().max() < 0.01


@pytest.mark.parametrize("bias", [True, False])
def test_a_product_is_made_anew_for_what_is_not_the_same(products, bias):
    layer, kept = nn.Linear(4, 3, bias=bias), SharedProducts()
    x, y = torch.randn(2, 5, 4)
    same = [x, x, x.view(5, 4)]
    others = [y, x[:4], x.t().contiguous().t(), x.double(), x]
    with torch.no_grad():
        for given in (*same, *others):
            weight, shift = (p if p is None else p.to(given.dtype) for p in (layer.weight, layer.bias))
            assert torch.equal(kept.linear(given, weight, shift), base_product(given, weight, shift))
        assert len(products) == 1 + len(others)
        x.mul_(2)
        assert torch.equal(kept.linear(x, layer.weight, layer.bias), base_product(x, layer.weight, layer.bias))


def test_an_input_that_cannot_tell_of_writing_is_not_kept():
    layer, kept = nn.Linear(4, 3), SharedProducts()
    with torch.inference_mode():
        x = torch.randn(5, 4)
        before = kept.linear(x, layer.weight, layer.bias).clone()
        x.mul_(2)
        assert not torch.equal(kept.linear(x, layer.weight, layer.bias), before)


def test_products_do_not_pile_up_where_the_model_makes_its_own_input():
    layer, kept = nn.Linear(4, 3), SharedProducts()
    with torch.no_grad():
        for _ in range(5):
            kept.linear(torch.randn(5, 4), layer.weight, layer.bias)
    assert len(kept._kept) == 1


@pytest.mark.parametrize("alive", ["bias", "weight", "x"])
def test_what_lives_for_one_call_is_never_taken_for_what_comes_to_its_place(alive):
    kept = SharedProducts()
    given = {"x": torch.randn(5, 4), "weight": torch.randn(3, 4), "bias": torch.randn(3)}
    with torch.no_grad():
        for k in range(20):
            given[alive] = None  # frees the last one's memory for the next
            given[alive] = torch.full({"x": (5, 4), "weight": (3, 4), "bias": (3,)}[alive], float(k))
            got, want = kept.linear(**given), base_product(**given)
            assert torch.equal(got, want), k


def test_a_weight_written_to_is_seen():
    layer, kept, x = nn.Linear(4, 3), SharedProducts(), torch.randn(5, 4)
    with torch.no_grad():
        for p in layer.parameters():
            kept.linear(x, layer.weight, layer.bias)
            p.add_(1)
            assert torch.equal(kept.linear(x, layer.weight, layer.bias), base_product(x, layer.weight, layer.bias))
