"""Folders of members that PEFT loads: for every family of models, what it then computes is what the member computes."""

import pytest
import torch
from test_generation import FAMILIES, transformers
from torch import nn
from torcheggroll import TorchEggrollES


def mamba():
    """A mixer with parameters of its own around linear layers, of which it reads one's weight itself."""
    return transformers().MambaForCausalLM(
        transformers().MambaConfig(vocab_size=40, hidden_size=32, state_size=4, num_hidden_layers=2)
    )


MODELS = {**FAMILIES, "Mamba": mamba}


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.filterwarnings("ignore")
def test_peft_computes_what_the_member_computes(family, tmp_path):
    peft = pytest.importorskip("peft", reason="needs PEFT")
    torch.manual_seed(0)
    model, base = MODELS[family]().eval(), MODELS[family]().eval()
    base.load_state_dict(model.state_dict())
    tokens = torch.tensor([[3, 4, 5, 6, 7]])
    es = TorchEggrollES(model, pop_size=4, sigma=0.05, rank=2, seed=1)
    [(spec, folder)] = es.adapters(tmp_path, [1])
    loaded = peft.PeftModel.from_pretrained(base, str(folder)).eval()
    with torch.no_grad():
        centre = model(tokens).logits
        with es.member(spec) as member:
            want = member(tokens).logits
        got = loaded(tokens).logits
    assert (want - centre).abs().max() > 1e-2
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


class Scaled(nn.Module):
    """A linear layer inside a module that has a parameter too."""

    def __init__(self):
        super().__init__()
        self.scale, self.inner = nn.Parameter(torch.ones(16)), nn.Linear(16, 16)

    def forward(self, x):
        return self.inner(x) * self.scale


def test_what_lies_in_a_saved_module_is_saved_with_it(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch", reason="needs safetensors")
    es = TorchEggrollES(nn.Sequential(Scaled(), nn.Linear(16, 16)), pop_size=2, rank=1, seed=0)
    [(spec, folder)] = es.adapters(tmp_path, [1])
    saved = safetensors.load_file(folder / "adapter_model.safetensors")
    inside = {name: saved[name] for name in saved if ".model.0." in name}
    with es.member(spec) as member:
        want = {f"base_model.model.0.{name}": value for name, value in member[0].state_dict().items()}
        assert inside.keys() == want.keys()
        for name in want:
            torch.testing.assert_close(inside[name], want[name])
