"""A member as low-rank factors gives the member's outputs; PEFT itself reads them."""

import pytest
import torch
from models import Conv1D
from reference import dense_members, relative
from torch import nn
from torcheggroll import TorchEggrollES


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.token, self.hidden, self.head = nn.Embedding(11, 8), nn.Linear(8, 12), nn.Linear(12, 6, bias=False)

    def forward(self, x):
        return self.head(torch.tanh(self.hidden(self.token(x))))


def test_factors_have_pefts_names_and_multiply_out_to_the_perturbation():
    es = TorchEggrollES(Small().double(), pop_size=4, sigma=0.3, rank=2, seed=0)
    member, state = dense_members(es)[3], es.export_lora(3)
    prefix = "base_model.model."
    assert set(state) == {
        prefix + name
        for name in ("token.lora_embedding_A", "token.lora_embedding_B", "hidden.lora_A.weight", "hidden.lora_B.weight",
                     "hidden.bias", "head.lora_A.weight", "head.lora_B.weight")
    }  # fmt: skip
    for name in ("hidden", "head"):
        change = state[f"{prefix}{name}.lora_B.weight"] @ state[f"{prefix}{name}.lora_A.weight"]
        want = member.get_submodule(name).weight - es.model.get_submodule(name).weight
        assert relative(change.detach(), want.detach()) < 1e-12
    change = (state[prefix + "token.lora_embedding_B"] @ state[prefix + "token.lora_embedding_A"]).T
    assert relative(change, (member.token.weight - es.model.token.weight).detach()) < 1e-12
    assert torch.equal(state[prefix + "hidden.bias"], member.hidden.bias)


def test_layers_that_store_the_transpose_get_the_factors_the_other_way_round():
    es = TorchEggrollES(nn.Sequential(Conv1D()).double(), pop_size=4, sigma=0.3, rank=2, seed=0)
    state = es.export_lora(1)
    change = (state["base_model.model.0.lora_B.weight"] @ state["base_model.model.0.lora_A.weight"]).T
    want = dense_members(es)[1][0].weight - es.model[0].weight
    assert relative(change, want.detach()) < 1e-12


def test_a_convolutions_factors_are_a_convolution_and_a_pointwise_one():
    es = TorchEggrollES(nn.Sequential(nn.Conv2d(4, 6, 3)).double(), pop_size=4, sigma=0.3, rank=2, seed=0)
    state, x = es.export_lora(1), torch.randn(2, 4, 7, 7, dtype=torch.float64)
    down, up = (state[f"base_model.model.0.lora_{f}.weight"] for f in "AB")
    got = nn.functional.conv2d(nn.functional.conv2d(x, down), up)
    got = got + nn.functional.conv2d(x, es.model[0].weight, state["base_model.model.0.bias"])
    assert relative(got.detach(), dense_members(es)[1](x).detach()) < 1e-12


@pytest.mark.slow
def test_peft_reads_a_member_and_gives_its_outputs():
    peft = pytest.importorskip("peft", reason="needs PEFT")
    torch.manual_seed(0)
    x, model = torch.randint(0, 11, (5, 7)), Small()
    es = TorchEggrollES(
        model, pop_size=4, sigma=0.3, rank=2, seed=0, param_filter=lambda p, name: name.endswith("weight")
    )
    want, state = es.forward(x), [es.export_lora(i) for i in range(4)]
    config = peft.LoraConfig(r=2, lora_alpha=2, target_modules=["token", "hidden", "head"], lora_dropout=0.0)
    adapted = peft.get_peft_model(model, config).eval()
    for i in range(4):
        report = peft.set_peft_model_state_dict(adapted, state[i])
        assert not report.unexpected_keys
        with torch.no_grad():
            assert relative(adapted(x), want[i]) < 1e-5
