"""Models in bfloat16 and float16: factors in the weights' dtype, engines that agree, updates in float32."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from torcheggroll import TorchEggrollES


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.norm, self.up, self.down = (
            nn.Embedding(11, 16), nn.LayerNorm(16), nn.Linear(16, 32), nn.Linear(32, 11, bias=False),
        )  # fmt: skip

    def forward(self, tokens):
        return self.down(functional.gelu(self.up(self.norm(self.table(tokens)))))


def loss(out, targets):
    return functional.cross_entropy(out.float().flatten(0, -2), targets.flatten())


def stepped(dtype, engine):
    torch.manual_seed(0)
    model = Small()
    before = torch.cat([p.detach().flatten() for p in model.parameters()])
    model = copy.deepcopy(model).to(dtype)
    es = TorchEggrollES(model, 64, sigma=0.1, lr=1.0, rank=2, seed=4, engine=engine, fitness="rank")
    x, y = torch.randint(0, 11, (8, 5)), torch.randint(0, 11, (8, 5))
    assert es.perturbations([0, 1])[0].left.dtype == {torch.float16: torch.float32}.get(dtype, dtype)
    es.step(x, loss, y)
    return torch.cat([p.detach().float().flatten() for p in es.optimizer.param_groups[0]["params"]]) - before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("engine", ["fold", "vmap", "loop"])
def test_the_update_follows_that_of_float32(dtype, engine):
    want = stepped(torch.float32, "loop")
    got = stepped(dtype, engine)
    assert functional.cosine_similarity(got, want, dim=0) > 0.98


def test_a_dense_member_of_a_bfloat16_model_is_rounded_once():
    model = nn.Linear(64, 64).bfloat16()
    es = TorchEggrollES(model, 4, sigma=0.1, rank=3, seed=0)
    es.ask()
    delta = es.perturbations([0, 1, 2, 3])[0]
    exact = model.weight.double() + delta.left.double().mT @ delta.right.double()
    assert torch.equal(es.get_stacked_params()["weight"], exact.float().bfloat16())
