"""Perturbations kept for many forward passes are the perturbations that each pass would draw."""

import pytest
import torch
from torch import nn
from torcheggroll import TorchEggrollES
from torcheggroll.noise import perturbation


def strategy(**settings):
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    return TorchEggrollES(model, pop_size=12, sigma=0.3, rank=2, seed=3, **settings)


@pytest.mark.parametrize("engine", ["fold", "vmap", "loop"])
@pytest.mark.parametrize("chunk", [None, 4])
def test_held_passes_equal_free_ones_to_the_bit(engine, chunk):
    es, x = strategy(engine=engine, chunk_size=chunk), torch.randn(3, 12, 5, 4)
    free = [es.forward(own, per_member=True) for own in x]
    with es.held():
        held = [es.forward(own, per_member=True) for own in x]
    assert all(map(torch.equal, free, held))


def test_many_passes_draw_once(monkeypatch):
    es, x = strategy(engine="fold", chunk_size=12), torch.randn(12, 1, 4)
    drawn = []
    draw = perturbation.Noise.deltas
    monkeypatch.setattr(perturbation.Noise, "deltas", lambda *a: drawn.append(1) or draw(*a))
    es.forward(x, per_member=True)  # the engine is chosen here
    drawn.clear()
    with es.held():
        for _ in range(5):
            es.forward(x, per_member=True)
    assert len(drawn) == 1
    es.forward(x, per_member=True)
    assert len(drawn) == 2


def test_an_update_inside_draws_the_next_population():
    es, other, x = strategy(engine="fold"), strategy(engine="fold"), torch.randn(12, 1, 4)
    other.load_state_dict(es.state_dict())
    with es.held():
        for each in (es, other):
            each.forward(x, per_member=True)
            each.ask()
            each.tell(list(range(12)))
        assert torch.equal(es.forward(x, per_member=True), other.forward(x, per_member=True))
