"""Modules of libraries: Transformers, PEFT, loralib, TorchScript, parametrizations, quantisation, compilation."""

import warnings

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations, parametrize, prune

from suite.case import Case, Run, floats, tokens, weight

_SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 31,
    "initializer_range": 0.3,
}
_LLAMA = {
    **_SMALL,
    "intermediate_size": 24,
    "num_key_value_heads": 1,
    "max_position_embeddings": 16,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}


def quiet(make):
    """Builds something of a library whose import or construction warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


def transformer(kind, config, settings):
    """Makes the builder of a small model of Transformers with random weights."""

    def build():
        import transformers

        return getattr(transformers, kind)(getattr(transformers, config)(**settings))

    return lambda: quiet(build)


def _ids(**more):
    return lambda: {"input_ids": torch.randint(0, 31, (2, 7)), **{name: make() for name, make in more.items()}}


def _family(name, kind, config, settings, inputs=None, **more):
    return Case(name, transformer(kind, config, settings), inputs or _ids(), needs="transformers", **more)


def _padded():
    mask = torch.ones(2, 7, dtype=torch.int64)
    mask[1, 5:] = 0
    return mask


_OPT = {**_SMALL, "ffn_dim": 24, "max_position_embeddings": 16, "word_embed_proj_dim": 16, "pad_token_id": 1}
_GPT2 = {
    "n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 31, "n_positions": 16,
    "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip
_T5 = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2, "vocab_size": 31}
_BERT = {**_SMALL, "intermediate_size": 24, "max_position_embeddings": 16}
_MAMBA = {"hidden_size": 16, "num_hidden_layers": 1, "vocab_size": 31, "state_size": 4, "time_step_rank": 2}
_VIT = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24, "image_size": 8,
    "patch_size": 4,
}  # fmt: skip
_MIXTRAL = {**_LLAMA, "num_local_experts": 4, "num_experts_per_tok": 2}
_NEOX = {**_SMALL, "intermediate_size": 24, "max_position_embeddings": 16}
_PHI = {**_LLAMA, "num_key_value_heads": 2}
_GEMMA = {**_LLAMA, "head_dim": 8, "pad_token_id": 0}


class Cached(nn.Module):
    """A causal model that runs a prompt and then one token, on a cache of fixed length."""

    def __init__(self):
        super().__init__()
        self.model = transformer("LlamaForCausalLM", "LlamaConfig", _LLAMA)()

    def forward(self, ids):
        from transformers import StaticCache

        cache = StaticCache(config=self.model.config, max_cache_len=8)
        first = self.model(ids[:, :4], past_key_values=cache, use_cache=True)
        rest = self.model(ids[:, 4:], past_key_values=first.past_key_values, use_cache=True)
        return torch.cat([first.logits, rest.logits], 1)


TRANSFORMERS = [
    _family("GPT-2", "GPT2LMHeadModel", "GPT2Config", _GPT2),
    _family("Llama", "LlamaForCausalLM", "LlamaConfig", _LLAMA),
    _family("Llama, padded", "LlamaForCausalLM", "LlamaConfig", _LLAMA, _ids(attention_mask=_padded)),
    _family("Mistral, a sliding window", "MistralForCausalLM", "MistralConfig", {**_LLAMA, "sliding_window": 3}),
    _family("Qwen2", "Qwen2ForCausalLM", "Qwen2Config", _LLAMA),
    _family("Gemma", "GemmaForCausalLM", "GemmaConfig", _GEMMA),
    _family("Phi", "PhiForCausalLM", "PhiConfig", _PHI),
    _family("GPT-NeoX", "GPTNeoXForCausalLM", "GPTNeoXConfig", _NEOX),
    _family("OPT", "OPTForCausalLM", "OPTConfig", _OPT),
    _family("BERT", "BertModel", "BertConfig", _BERT),
    _family("T5", "T5ForConditionalGeneration", "T5Config", _T5,
            _ids(decoder_input_ids=lambda: torch.randint(0, 31, (2, 4)))),
    _family("Mamba", "MambaForCausalLM", "MambaConfig", _MAMBA),
    _family("Mixtral", "MixtralForCausalLM", "MixtralConfig", _MIXTRAL),
    _family("ViT", "ViTModel", "ViTConfig", _VIT, lambda: {"pixel_values": torch.randn(2, 3, 8, 8)}),
    Case("Llama on a static cache", Cached, tokens(2, 5, high=31), needs="transformers"),
]  # fmt: skip


def _adapted(config, settings, model=_LLAMA):
    def build():
        import peft

        base = transformer("LlamaForCausalLM", "LlamaConfig", model)()
        made = peft.get_peft_model(base, getattr(peft, config)(task_type="CAUSAL_LM", **settings))
        for name, p in made.named_parameters():
            if p.requires_grad and "lora_B" in name:
                nn.init.normal_(p, std=0.1)
        return made

    return lambda: quiet(build)


_TARGETS = {"target_modules": ["q_proj", "v_proj"]}
PEFT = [
    Case("PEFT, LoRA", _adapted("LoraConfig", {"r": 2, **_TARGETS}), _ids(), needs="peft"),
    Case("PEFT, DoRA", _adapted("LoraConfig", {"r": 2, "use_dora": True, **_TARGETS}), _ids(), needs="peft"),
    Case("PEFT, IA3", _adapted("IA3Config", {"feedforward_modules": ["down_proj"],
                                            "target_modules": ["q_proj", "down_proj"]}), _ids(), needs="peft"),
]  # fmt: skip


def _lora(kind):
    def make():
        import loralib

        kinds = {
            "Linear": lambda: nn.Sequential(loralib.Linear(8, 16, r=4), nn.ReLU(), nn.Linear(16, 3)),
            "Embedding": lambda: nn.Sequential(loralib.Embedding(13, 8, r=4), nn.Linear(8, 3)),
            "MergedLinear": lambda: nn.Sequential(
                loralib.MergedLinear(8, 12, r=4, enable_lora=[True, False]), nn.Linear(12, 3)
            ),
        }
        model = kinds[kind]()
        loralib.mark_only_lora_as_trainable(model)
        for p in model.parameters():
            if p.requires_grad:
                nn.init.normal_(p)
        return model

    return make


LORALIB = [
    Case("loralib.Linear", _lora("Linear"), floats(5, 8), needs="loralib"),
    Case("loralib.Embedding", _lora("Embedding"), tokens(3, 5), needs="loralib"),
    Case("loralib.MergedLinear", _lora("MergedLinear"), floats(5, 8), needs="loralib"),
]


class Merging(nn.Linear):
    """A low-rank adapter that merges itself into its frozen weight where it is told to evaluate."""

    def __init__(self, *size):
        super().__init__(*size)
        self.weight.requires_grad_(False)
        self.left, self.right, self.merged = weight(size[1], 2), weight(2, size[0]), False

    def train(self, mode=True):
        super().train(mode)
        if mode == self.merged:
            self.weight.data += (self.left @ self.right) * (-1 if mode else 1)
            self.merged = not mode
        return self

    def forward(self, x):
        y = F.linear(x, self.weight, self.bias)
        return y if self.merged else y + x @ self.right.T @ self.left.T


def _scripted(trace=False):
    def make():
        back = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 6))

        def script():
            return torch.jit.trace(back, torch.randn(5, 8)) if trace else torch.jit.script(back)

        return nn.Sequential(quiet(script), nn.Linear(6, 3))

    return make


def _script_function():
    def gate(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(x.mean(0)) * torch.tanh(y)

    gated = quiet(lambda: torch.jit.script(gate))
    return Run(lambda m, x: m.b(gated(m.a(x), m.a(x))), a=nn.Linear(8, 6), b=nn.Linear(6, 3))


def _compiled():
    return nn.Sequential(torch.compile(nn.Sequential(nn.Linear(8, 6), nn.Tanh()), backend="eager"), nn.Linear(6, 3))


class Symmetric(nn.Module):
    def forward(self, w):
        return w.triu() + w.triu(1).transpose(-1, -2)


def _symmetric():
    layer = nn.Linear(6, 6)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    return nn.Sequential(nn.Linear(8, 6), layer)


def _old_weight_norm():
    return _once(nn.Sequential(quiet(lambda: nn.utils.weight_norm(nn.Linear(8, 6))), nn.Linear(6, 3)))


def _pruned():
    layer = nn.Linear(8, 6)
    prune.l1_unstructured(layer, "weight", 0.4)
    return _once(nn.Sequential(layer, nn.Linear(6, 3)))


def _once(model):
    """Calls a model whose weights are attributes made in forward, so that they can be copied."""
    with torch.no_grad():
        model(torch.randn(5, 8))
    return model


def _spectral():
    return nn.Sequential(parametrizations.spectral_norm(nn.Linear(8, 6)), nn.Linear(6, 3))


def _weight_norm_convolution():
    return nn.Sequential(parametrizations.weight_norm(nn.Conv1d(4, 6, 3)), nn.Tanh(), nn.Conv1d(6, 2, 1))


class Ternary(torch.autograd.Function):
    @staticmethod
    def forward(ctx, w):
        scale = w.abs().mean()
        return torch.tanh(w / scale) * scale

    @staticmethod
    def backward(ctx, grad):
        return grad


def _fake_quantised(m, x):
    return m.out(F.linear(torch.tanh(x), Ternary.apply(m.w)))


def _dynamic():
    def build():
        float_part = nn.Sequential(nn.Linear(8, 16), nn.Tanh())
        quantised = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(16, 16)), {nn.Linear})
        return nn.Sequential(float_part, quantised, nn.Tanh(), nn.Linear(16, 3))

    return quiet(build)


def _int8_weights(m, x):
    return m.out(F.linear(m.a(x), m.packed.to(torch.float32) * m.scale))


def _bfloat16():
    return nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.LayerNorm(64), nn.Linear(64, 8)).bfloat16()


def _autocast(m, x):
    with torch.autocast("cpu", torch.bfloat16):
        return m.b(torch.tanh(m.a(x)))


TORCH = [
    Case("merges in eval()", lambda: nn.Sequential(Merging(8, 16), nn.ReLU(), nn.Linear(16, 3)), floats(5, 8)),
    Case("scripted", _scripted(), floats(5, 8), engine="loop"),
    Case("traced", _scripted(trace=True), floats(5, 8), engine="loop"),
    Case("scripted function", _script_function, floats(5, 8), engine="vmap"),
    Case("compiled", _compiled, floats(5, 8)),
    Case("weight_norm", lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(8, 6)), nn.Linear(6, 3)),
         floats(5, 8)),
    Case("weight_norm of a convolution", _weight_norm_convolution, floats(3, 4, 9)),
    Case("weight_norm by a hook", _old_weight_norm, floats(5, 8)),
    Case("spectral_norm", _spectral, floats(5, 8)),
    Case("orthogonal", lambda: nn.Sequential(nn.Linear(8, 6), parametrizations.orthogonal(nn.Linear(6, 6))),
         floats(5, 8)),
    Case("symmetric", _symmetric, floats(5, 8)),
    Case("pruned", _pruned, floats(5, 8)),
    Case("quantised in training", lambda: Run(_fake_quantised, w=weight(6, 8), out=nn.Linear(6, 3)), floats(5, 8)),
    Case("quantised dynamically", _dynamic, floats(5, 8), loose=1e-3, least_sigma=0.02),
    Case("int8 weights", lambda: Run(_int8_weights, a=nn.Linear(8, 6), out=nn.Linear(6, 3),
                                     packed=torch.randint(-127, 127, (6, 6), dtype=torch.int8),
                                     scale=nn.Parameter(torch.tensor(0.01))), floats(5, 8)),
    Case("bfloat16", _bfloat16, lambda: torch.randn(16, 32).bfloat16(), loose=5e-3, least_sigma=0.1),
    Case("autocast", lambda: Run(_autocast, a=nn.Linear(8, 6), b=nn.Linear(6, 3)), floats(5, 8),
         loose=2e-3, least_sigma=0.1),
]  # fmt: skip
LIBRARIES = [*TRANSFORMERS, *PEFT, *LORALIB, *TORCH]
