"""Parameters that are not evolved, in models that write into them while they run."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from torcheggroll import TorchEggrollES

WAYS = {
    "add_": lambda w: w.add_(1.0),
    "+=": lambda w: w.__iadd__(1.0),
    "row": lambda w: w[0].fill_(7.0),
    "item": lambda w: w.__setitem__(0, 7.0),
    "data": lambda w: w.data.mul_(2.0),
    "new data": lambda w: setattr(w, "data", w.data + 1.0),
    "out": lambda w: torch.add(w.detach(), 1.0, out=w.data),
}


class Writing(nn.Module):
    """Changes its frozen scale at every forward, and uses what it changed."""

    def __init__(self, way):
        super().__init__()
        self.inner, self.scale = nn.Linear(6, 4), nn.Parameter(torch.rand(4, 2), requires_grad=False)
        self.way = way

    def forward(self, x):
        WAYS[self.way](self.scale)
        return self.inner(x) @ self.scale


@pytest.mark.parametrize("engine", ["auto", "loop", "vmap"])
@pytest.mark.parametrize("way", WAYS)
def test_what_a_forward_writes_into_a_frozen_parameter_is_taken_back(way, engine):
    torch.manual_seed(0)
    model = Writing(way)
    es = TorchEggrollES(model, 8, seed=0, engine=engine, param_filter=lambda p, name: name.startswith("inner"))
    before, address = model.scale.detach().clone(), model.scale.data_ptr()
    x = torch.randn(5, 6)
    want = []
    for i in range(8):
        with es.member(i) as member:
            want.append(copy.deepcopy(member)(x))
    assert torch.equal(model.scale, before)
    got = es.forward(x)
    torch.testing.assert_close(got, torch.stack(want).detach(), rtol=1e-4, atol=1e-5)
    es.step(x, functional.cross_entropy, torch.tensor([0, 1, 0, 1, 0]))
    assert torch.equal(model.scale, before)
    assert model.scale.data_ptr() == address


def test_a_table_that_max_norm_shortens_is_taken_back():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(5, 4, max_norm=0.1), nn.Linear(4, 2))
    es = TorchEggrollES(model, 8, seed=0, param_filter=lambda p, name: name.startswith("1"))
    before = model[0].weight.detach().clone()
    es.step(torch.tensor([0, 1, 2]), functional.cross_entropy, torch.tensor([0, 1, 0]))
    assert torch.equal(model[0].weight, before)


class Rebinding(nn.Module):
    """Gives its buffer what it computed as data."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 4)
        self.register_buffer("kept", torch.zeros(5, 4))

    def forward(self, x):
        self.kept.data = self.inner(x)
        return self.kept * 2


def test_fold_takes_data_that_differs_between_members():
    torch.manual_seed(0)
    model, x = Rebinding(), torch.randn(5, 6)
    fold, loop = (TorchEggrollES(model, 8, seed=0, engine=engine).forward(x) for engine in ("fold", "loop"))
    torch.testing.assert_close(fold, loop, rtol=1e-5, atol=1e-6)
    assert not model.kept.any()
