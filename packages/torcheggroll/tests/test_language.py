"""Language models of Transformers: chosen by module name, trained through the public API, exported to PEFT."""

import warnings
import weakref

import pytest
import torch
from reference import relative
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torcheggroll import TorchEggrollES, target_modules

SYMBOLS = 24


def transformers():
    return pytest.importorskip("transformers", reason="needs Transformers")


def gpt2(dropout=0.0):
    config = transformers().GPT2Config(
        vocab_size=SYMBOLS, n_positions=16, n_embd=24, n_layer=2, n_head=3, use_cache=False,
        resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return transformers().GPT2LMHeadModel(config).eval()


def llama():
    config = transformers().LlamaConfig(
        vocab_size=SYMBOLS, hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=16, use_cache=False, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return transformers().LlamaForCausalLM(config).eval()


MODELS = {
    "GPT-2": (gpt2, ("wte", "c_attn", "c_proj", "c_fc")),
    "Llama": (llama, ("q_proj", "v_proj", "o_proj", "gate_proj", "down_proj", "lm_head")),
}


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what these libraries import has warnings of its own
        yield


def prompt_losses(outputs, tokens):
    """One loss per prompt."""
    return functional.cross_entropy(outputs.logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none").mean(1)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["fold", "vmap", "loop"])
@pytest.mark.parametrize("kind", MODELS)
def test_a_causal_model_learns_its_prompts_by_evolution(kind, engine):
    make, names = MODELS[kind]
    model = make()
    tokens = (torch.arange(10) * torch.tensor([[1], [2], [5]])) % SYMBOLS
    frozen = {name: p.clone() for name, p in model.named_parameters() if not target_modules(names)(p, name)}
    es = TorchEggrollES(
        model, pop_size=32, sigma=0.05, rank=1, seed=0, lr=0.03, optimizer=torch.optim.Adam,
        fitness="question", param_filter=target_modules(names), engine=engine,
    )  # fmt: skip
    fitness = [es.step({"input_ids": tokens}, prompt_losses, tokens) for _ in range(16)]
    assert fitness[-1] > fitness[0] + 0.3  # nats per token
    assert es.diagnostics.engine == engine
    assert all(torch.equal(model.get_parameter(name), value) for name, value in frozen.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    "names", [["c_attn"], ["attn.c_proj", "c_fc"], ("wte",), r".*\.mlp\.c_.*", r"c_attn", ["attn"], ["h.0.attn.c_attn"]]
)
def test_modules_are_meant_as_peft_means_them(names):
    utils = pytest.importorskip("peft.tuners.tuners_utils", reason="needs PEFT")
    peft = pytest.importorskip("peft", reason="needs PEFT")
    paths = [f"transformer.h.{i}.{leaf}" for i in range(2) for leaf in ("attn.c_attn", "attn.c_proj", "mlp.c_fc")]
    config, chosen = peft.LoraConfig(target_modules=names), target_modules(names)
    for path in [*paths, "transformer.wte", "c_attn", "xc_attn"]:
        want = bool(utils.check_target_module_exists(config, path))
        assert chosen(nn.Parameter(torch.zeros(1)), f"{path}.weight") == want, path
        assert not chosen(nn.Parameter(torch.zeros(1)), f"{path}.bias")
        assert target_modules(names, bias=True)(nn.Parameter(torch.zeros(1)), f"{path}.bias") == want


@pytest.mark.parametrize(
    ("names", "want"),
    [
        (["experts"], {"mlp.experts.gate_up_proj", "mlp.experts.down_proj"}),
        (["gate_up_proj"], {"mlp.experts.gate_up_proj"}),
        (["experts.down_proj", "router"], {"mlp.experts.down_proj", "mlp.router.weight"}),
        (r".*experts", {"mlp.experts.gate_up_proj", "mlp.experts.down_proj"}),
    ],
)
def test_experts_are_chosen_by_module_or_by_name(names, want):
    sizes = {"mlp.experts.gate_up_proj": (4, 8, 6), "mlp.experts.down_proj": (4, 3, 8), "mlp.experts.bias": (4, 6),
             "mlp.router.weight": (4, 8), "mlp.router.bias": (4,)}  # fmt: skip
    chosen = target_modules(names)
    assert {name for name, size in sizes.items() if chosen(nn.Parameter(torch.zeros(size)), name)} == want


def test_names_that_name_nothing_are_refused():
    with pytest.raises(ValueError, match="one module"):
        target_modules([])
    with pytest.raises(TypeError, match="names"):
        target_modules([3])
    with pytest.raises(ValueError, match="no parameters selected"):
        TorchEggrollES(nn.Linear(2, 2), param_filter=target_modules(["q_proj"]))


class Live(TorchDispatchMode):
    """Count the bytes of float tensors that are alive, and their peak."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        known = {t.data_ptr() for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        for t in tree_leaves(out):
            if isinstance(t, torch.Tensor) and t.is_floating_point() and t.data_ptr() not in known:
                size = t.numel() * t.element_size()
                self.now += size
                weakref.finalize(t, self._forget, size)
        self.peak = max(self.peak, self.now)
        return out

    def _forget(self, size):
        self.now -= size


def peak_of_an_update(**settings):
    model = nn.Sequential(*[nn.Linear(256, 256, bias=False) for _ in range(16)])
    es = TorchEggrollES(model, pop_size=4, sigma=0.01, rank=1, seed=0, **settings)
    es.ask()
    es.export_lora(0)  # draws, and so fills the tables of the noise
    with Live() as live:
        es.tell([1.0, 2.0, 4.0, 3.0])
    return live.peak / (256 * 256 * 4)


def test_plain_sgd_holds_one_layers_update_at_a_time():
    assert peak_of_an_update() < 3
    assert peak_of_an_update(max_update_norm=1.0) > 12  # the limit needs all of them: so the count counts


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_peft_loads_a_member_from_disk_and_gives_its_outputs(kind, tmp_path):
    peft = pytest.importorskip("peft", reason="needs PEFT")
    make, names = MODELS[kind]
    names = [name for name in names if name != "wte"]  # PEFT leaves the head alone that is tied to it
    torch.manual_seed(1)
    model, tokens = make(), torch.randint(0, SYMBOLS, (3, 9))
    es = TorchEggrollES(model, pop_size=4, sigma=0.05, rank=2, seed=0, param_filter=target_modules(names))
    want, base = es.forward({"input_ids": tokens}).logits, model(tokens).logits
    for member in range(4):
        folder = tmp_path / str(member)
        peft.LoraConfig(
            r=2, lora_alpha=2, target_modules=names, fan_in_fan_out=kind == "GPT-2", inference_mode=True
        ).save_pretrained(str(folder))
        torch.save(es.export_lora(member), folder / "adapter_model.bin")
        adapted = peft.PeftModel.from_pretrained(model, str(folder)).eval()
        with torch.no_grad():
            assert relative(adapted(tokens).logits, want[member]) < 1e-5
            assert relative(adapted(tokens).logits, base) > 1e-2
        model = adapted.unload()


def test_factors_share_no_storage():
    """Files of tensors hold whole storages, and safetensors refuses shared ones."""
    es = TorchEggrollES(nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 4)), pop_size=4, rank=2, seed=0)
    state = es.export_lora(1)
    assert len({t.untyped_storage().data_ptr() for t in state.values()}) == len(state)
    assert all(t.untyped_storage().nbytes() == t.numel() * t.element_size() for t in state.values())
