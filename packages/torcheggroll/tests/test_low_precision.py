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


def test_masters_follow_what_others_write_and_keep_the_rest():
    """Only the entries that were written to lose what their master knows beyond the weight's precision."""
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 1), nn.LayerNorm(1)).bfloat16()
    es = TorchEggrollES(model, 8, sigma=0.1, lr=1e-4, seed=0)
    es.ask()
    es.tell(list(range(8)))
    masters = [p for group in es.optimizer.param_groups for p in group["params"]]
    before = [p.detach().clone() for p in masters]
    assert any(not torch.equal(p, p.bfloat16().float()) for p in before)
    model[0].weight.data[2, 3] = 7.0
    model[1].bias.data.fill_(-1.5)
    es.lr = 0.0
    es.ask()
    es.tell(list(range(8)))
    for p, old, name in zip(masters, before, es.param_names, strict=True):
        want = old.clone()
        if name == "0.weight":
            want[2, 3] = 7.0
        elif name == "1.bias":
            want.fill_(-1.5)
        assert torch.equal(p, want)


def test_the_update_takes_no_part_in_autocast():
    """Noise and estimate are float32, whatever the caller's own ops are cast to."""
    moved = []
    for enabled in (False, True):
        torch.manual_seed(0)
        es = TorchEggrollES(nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8)), 12, seed=0)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            es.ask()
            es.tell(list(range(12)))
        moved.append([p.value.detach() for p in es.parameters])
    assert all(map(torch.equal, *moved))
