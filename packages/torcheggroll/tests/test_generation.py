"""Text generation: every member's tokens are those that it writes alone, by the model's own ``generate``."""

import warnings

import pytest
import torch
from torch import nn
from torcheggroll import TorchEggrollES
from torcheggroll.generation import GumbelNoise
from torcheggroll.generation._decode.rows import Rows, owner_of, tag

SYMBOLS = 40
MEMBERS = 6
PROMPTS = {"equal": [[1, 2, 3, 4], [5, 6, 7, 8]], "padded": [[1, 2, 3, 4, 9], [5, 6], [8]]}
SIZES = {
    "vocab_size": SYMBOLS, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 64, "bos_token_id": None, "eos_token_id": None,
    "pad_token_id": None,
}  # fmt: skip
GROUPED = SIZES | {"num_key_value_heads": 2}


def transformers():
    return pytest.importorskip("transformers", reason="needs Transformers")


def gpt2():
    config = transformers().GPT2Config(
        vocab_size=SYMBOLS, n_positions=64, n_embd=32, n_layer=2, n_head=4, bos_token_id=None, eos_token_id=None
    )
    return transformers().GPT2LMHeadModel(config)


def deepseek():
    config = transformers().DeepseekV3Config(
        **SIZES | {"num_key_value_heads": 4}, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=16,
        n_group=1, topk_group=1, kv_lora_rank=8, q_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=4, v_head_dim=8,
        first_k_dense_replace=1,
    )  # fmt: skip
    return transformers().DeepseekV3ForCausalLM(config)


FAMILIES = {
    "GPT-2": gpt2,
    "Llama, grouped queries": lambda: transformers().LlamaForCausalLM(transformers().LlamaConfig(**GROUPED)),
    "Qwen 2, tied": lambda: transformers().Qwen2ForCausalLM(
        transformers().Qwen2Config(**GROUPED, tie_word_embeddings=True)
    ),
    "Mistral, sliding window": lambda: transformers().MistralForCausalLM(
        transformers().MistralConfig(**GROUPED, sliding_window=4)
    ),
    "Mixtral, experts": lambda: transformers().MixtralForCausalLM(
        transformers().MixtralConfig(**GROUPED, num_local_experts=4, num_experts_per_tok=2)
    ),
    "Gemma 2, shifted norms": lambda: transformers().Gemma2ForCausalLM(
        transformers().Gemma2Config(**GROUPED, head_dim=8, sliding_window=6)
    ),
    "GPT-OSS, experts with biases, sinks": lambda: transformers().GptOssForCausalLM(
        transformers().GptOssConfig(
            **GROUPED,
            head_dim=8,
            num_local_experts=4,
            num_experts_per_tok=2,
            sliding_window=4,
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        )
    ),
    "DeepSeek 3, weights cast, the first layer dense": deepseek,
    "GPT-NeoX": lambda: transformers().GPTNeoXForCausalLM(transformers().GPTNeoXConfig(**SIZES)),
}


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(?!torcheggroll)")
        warnings.filterwarnings("ignore", message=".*(RoPE|generation flags|pytree|deprecated).*")
        yield


def made(family, **settings):
    torch.manual_seed(0)
    settings = {"pop_size": MEMBERS, "sigma": 0.05, "rank": 2, "seed": 1, **settings}
    return TorchEggrollES(FAMILIES[family](), **settings)


def alone(es, member, prompts, ends, temperature, top_p=1.0, cache=None):
    """What the model's own ``generate`` writes for one member, on prompts padded by hand."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    noise = [GumbelNoise(5, range(len(prompts)), longest, temperature, top_p)] if temperature else None
    with es.member(member) as model:
        return model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=10, do_sample=False, eos_token_id=list(ends) or None,
            pad_token_id=0, logits_processor=noise, cache_implementation=cache,
        )[:, longest:]  # fmt: skip


def assert_equal(got, want):
    width = min(got.shape[1], want.shape[1])
    assert torch.equal(got[:, :width], want[:, :width])
    assert not got[:, width:].any()
    assert not want[:, width:].any()


@pytest.mark.parametrize("prompts", PROMPTS)
@pytest.mark.parametrize("ends", [(), (3, 7, 11, 20)])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_member_writes_what_it_writes_alone(family, temperature, ends, prompts):
    es, given = made(family), PROMPTS[prompts]
    written = es.generate(given, 10, temperature, eos_token_id=ends, seed=5, pad_token_id=0)
    assert es.evaluator.last == "fold"
    for member in range(MEMBERS):
        assert_equal(written.tokens[member], alone(es, member, given, ends, temperature))
    assert len({str(row.tolist()) for row in written.tokens}) > 1  # the members differ at all
    assert ends or (written.lengths == 10).all()


def test_a_static_cache_and_a_smaller_nucleus_write_the_same():
    es = made("Llama, grouped queries")
    written = es.generate(PROMPTS["padded"], 10, 0.8, 0.6, (), 5, pad_token_id=0, cache="static")
    assert es.evaluator.last == "fold"
    for member in range(MEMBERS):
        assert_equal(written.tokens[member], alone(es, member, PROMPTS["padded"], (), 0.8, 0.6))


@pytest.mark.parametrize(
    "settings", [{"chunk_size": 1}, {"chunk_size": 4}, {"memory_budget": 1}, {"memory_budget": 200_000},
                 {"engine": "loop"}]
)  # fmt: skip
def test_chunks_of_members_and_of_prompts_change_no_token(settings):
    want = made("Llama, grouped queries").generate(PROMPTS["padded"], 8, 0.8, seed=5, pad_token_id=0)
    got = made("Llama, grouped queries", **settings).generate(PROMPTS["padded"], 8, 0.8, seed=5, pad_token_id=0)
    assert torch.equal(got.tokens, want.tokens)


@pytest.mark.parametrize("family", ["Llama, grouped queries", None])
def test_the_centre_writes_what_a_member_without_perturbation_writes(family):
    es = made(family) if family else TorchEggrollES(Recurrent(), pop_size=MEMBERS, sigma=0.5, seed=1)
    got = es.generate(PROMPTS["padded"], 8, 0.8, eos_token_id=(3, 7), seed=5, pad_token_id=0, centre=True)
    member = es.generate(PROMPTS["padded"], 8, 0.8, eos_token_id=(3, 7), seed=5, pad_token_id=0)
    es.sigma = 0.0
    want = es.generate(PROMPTS["padded"], 8, 0.8, eos_token_id=(3, 7), seed=5, pad_token_id=0)
    assert got.tokens.shape[:2] == (1, 3)
    assert got.sequences(0) == want.sequences(3) != member.sequences(3)


def test_a_small_budget_cuts_the_population():
    es, sizes = made("Llama, grouped queries", memory_budget=120_000), []
    draw = es.perturbations
    es.texts.generate(
        PROMPTS["equal"], lambda m: sizes.append(len(m)) or draw(m), list(range(MEMBERS)), max_new_tokens=8,
        temperature=0.0, top_p=1.0, eos_token_id=(), seed=0, tokenizer=None, pad_token_id=0, cache=None,
    )  # fmt: skip
    assert len(sizes) > 2
    assert max(sizes[1:]) < MEMBERS  # the first draw is the comparison of a few members


def test_the_model_is_left_as_it_was_found():
    es = made("Mixtral, experts")
    model = es.model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    config, experts = model.generation_config, model.config._experts_implementation
    text = str(model.generation_config)
    state = torch.random.get_rng_state()
    es.generate(PROMPTS["padded"], 4, 1.0, pad_token_id=0)
    assert model.training
    assert model.generation_config is config
    assert str(config) == text
    assert model.config._experts_implementation == experts
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Recurrent(nn.Module):
    """The other protocol: a cache of whatever kind, rows in front."""

    def __init__(self, scramble=False):
        super().__init__()
        self.embed, self.cell, self.head = nn.Embedding(SYMBOLS, 16), nn.Linear(32, 16), nn.Linear(16, SYMBOLS)
        self.scramble = scramble

    def forward(self, tokens, cache=None):
        h = tokens.new_zeros(len(tokens), 16, dtype=torch.float32) if cache is None else cache["h"]
        out = []
        for x in self.embed(tokens).unbind(1):
            if self.scramble:
                h = self.cell(torch.cat([x, h], 1).flip(0)).flip(0).tanh()
            else:
                h = self.cell(torch.cat([x, h], 1)).tanh()
            out.append(self.head(h))
        return torch.stack(out, 1), {"h": h}


def written_alone(es, member, prompt, number, temperature, ends=()):
    noise, tokens, cache, out = GumbelNoise(5, [number], len(prompt), temperature), torch.tensor([prompt]), None, []
    with es.member(member) as model, torch.no_grad():
        for position in range(10):
            logits, cache = model(tokens, cache)
            token = int(noise.perturb(logits[:, -1], position).argmax())
            out.append(token)
            if token in ends:
                break
            tokens = torch.tensor([[token]])
    return out


@pytest.mark.parametrize("scramble", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_module_with_a_cache_writes_too(temperature, scramble):
    torch.manual_seed(0)
    es = TorchEggrollES(Recurrent(scramble), pop_size=MEMBERS, sigma=0.3, seed=1)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        written = es.generate(PROMPTS["padded"], 10, temperature, eos_token_id=(3, 7, 11), seed=5, pad_token_id=0)
    assert es.evaluator.last == ("loop" if scramble else "fold")
    assert ("another order" in "".join(str(w.message) for w in said)) == scramble
    for member in range(MEMBERS):
        for number, prompt in enumerate(PROMPTS["padded"]):
            want = written_alone(es, member, prompt, number, temperature, (3, 7, 11))
            assert written.sequences(member)[number] == want


class Leaky(Recurrent):
    """Reads a parameter where nobody can see it: side by side every member would be the centre."""

    def forward(self, tokens, cache=None):
        logits, cache = super().forward(tokens, cache)
        with torch._C.DisableTorchFunction():
            return logits + self.head.bias * 3, cache


def test_what_hides_a_parameter_is_found_out_and_written_one_by_one():
    es = TorchEggrollES(Leaky(), pop_size=MEMBERS, sigma=0.01, seed=1, param_filter=lambda p, name: name == "head.bias")
    with pytest.warns(UserWarning, match="side by side and the loop disagree"):
        written = es.generate([[1, 2]], 6, 0.8, seed=5)
    assert written.sequences(3)[0] == written_alone(es, 3, [1, 2], 0, 0.8)[:6]
    with pytest.raises(RuntimeError, match="engine='fold'"):
        TorchEggrollES(Leaky(), pop_size=4, sigma=0.01, engine="fold").generate([[1, 2]], 6)


def test_noise_is_a_function_of_seed_prompt_position_and_token():
    scores = torch.zeros(2, 50)
    noise = GumbelNoise(0, [0, 1], 0)
    first = noise.perturb(scores, 0)
    assert torch.equal(first, GumbelNoise(0, [0, 1], 0).perturb(scores, 0))
    assert torch.equal(first[1], GumbelNoise(0, [1], 0).perturb(scores[:1], 0)[0])
    for other in (GumbelNoise(1, [0, 1], 0).perturb(scores, 0), noise.perturb(scores, 1)):
        assert not (other == first).any()
    assert torch.equal(noise.perturb(scores.repeat(3, 1), 0), first.repeat(3, 1))


def test_sampling_follows_the_softmax_of_what_the_nucleus_leaves():
    torch.manual_seed(0)
    logits = torch.randn(12)
    for temperature, top_p in ((1.0, 1.0), (0.5, 1.0), (1.0, 0.7)):
        noise = GumbelNoise(3, range(20_000), 0, temperature, top_p)
        drawn = noise.perturb(logits.repeat(20_000, 1), 0).argmax(-1).bincount(minlength=12) / 20_000
        want = torch.softmax(logits.double() / temperature, -1)
        order = want.argsort(descending=True)
        kept = order[: int((want[order].cumsum(0) < top_p).sum()) + 1]
        exact = torch.zeros_like(want)
        exact[kept] = want[kept] / want[kept].sum()
        assert (drawn - exact).abs().max() < 0.015
        assert not drawn[exact == 0].any()


@pytest.mark.parametrize(
    ("prompts", "message"),
    [([], "at least one prompt"), ([[1], []], "at least one token"), ([[1] * 60], "64 positions"),
     ([[1, SYMBOLS]], "vocabulary|must be in"), ([[1], [1, 2]], "different lengths")],
)  # fmt: skip
def test_prompts_that_do_not_fit_are_refused_before_anything_runs(prompts, message):
    with pytest.raises(ValueError, match=message):
        made("Llama, grouped queries").generate(prompts, 10)


def test_wrong_calls_are_refused():
    es = made("Llama, grouped queries")
    with pytest.raises(TypeError, match="tokenizer"):
        es.generate(["some words"])
    for wrong in ({"max_new_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            es.generate([[1]], **wrong)
    with pytest.raises(TypeError, match="cache"):
        TorchEggrollES(nn.Linear(2, 2), pop_size=4).generate([[1]])


class Idle(Recurrent):
    """Has a parameter that its logits do not depend on."""

    def __init__(self):
        super().__init__()
        self.idle = nn.Parameter(torch.zeros(3))


def test_parameters_that_change_no_text_are_told_of():
    es = TorchEggrollES(Idle(), pop_size=MEMBERS, sigma=0.1, seed=1, param_filter=lambda p, name: name == "idle")
    with pytest.warns(UserWarning, match=r"selected parameters \(idle\) must change the result"):
        es.generate([[1, 2]], 6, 0.8, seed=5)
    assert not es.evaluator.acts


class Loud(Recurrent):
    """Fails on its own account."""

    def forward(self, tokens, cache=None):
        raise KeyError("no such layer")


def test_what_the_model_itself_raises_reaches_the_caller():
    with pytest.raises(KeyError, match="no such layer"):
        TorchEggrollES(Loud(), pop_size=MEMBERS, seed=1).generate([[1, 2]], 6)


@pytest.mark.parametrize(
    ("prompts", "more", "message"),
    [("some words", {}, "list of prompts"), ({"input_ids": [[1]]}, {}, "list of strings"), ([1, 2], {}, "sequence of"),
     (torch.tensor([1, 2]), {}, r"\(prompts, T\)"), (torch.ones(1, 2), {}, "integers"), ([[1.5]], {}, "integers"),
     ([torch.tensor([1.5])], {}, "integers"),
     (["a"], {"tokenizer": object()}, "callable")],
)  # fmt: skip
def test_what_is_no_list_of_prompts_is_refused(prompts, more, message):
    es = TorchEggrollES(Recurrent(), pop_size=4)
    for call in (es.generate, lambda p, **kw: es.step_reward(p, lambda *_: 0.0, **kw)):
        with pytest.raises(TypeError, match=message):
            call(prompts, **more)


def test_what_the_model_can_not_do_is_refused_before_it_runs():
    with pytest.raises(ValueError, match=r"padding must be in \[0, 40\)"):
        made("Llama, grouped queries").generate([[1], [2, 3]], 8, pad_token_id=SYMBOLS)
    with pytest.raises(ValueError, match="cache must be None"):
        TorchEggrollES(Recurrent(), pop_size=4).generate([[1]], cache="static")
    t5 = transformers().T5Config(vocab_size=SYMBOLS, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    with pytest.raises(TypeError, match="encoder"):
        TorchEggrollES(transformers().T5ForConditionalGeneration(t5), pop_size=4).generate([[1]])


class Attentive(nn.Module):
    """Takes queries, keys and values out of one projection, in one of several ways of writing it."""

    def __init__(self, way):
        super().__init__()
        self.embed, self.qkv, self.head = nn.Embedding(SYMBOLS, 16), nn.Linear(16, 48), nn.Linear(16, SYMBOLS)
        self.way = way

    def heads(self, x):
        return x.unflatten(-1, (2, 8)).transpose(1, 2)

    def split(self, packed):
        if self.way == "permuted":
            return packed.unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        if self.way == "indexed":
            packed = packed.view(*packed.shape[:2], 3, 2, 8).permute(2, 0, 3, 1, 4).contiguous()
            return packed[0] * 1.0, packed[1], packed[2]
        if self.way == "unbound":
            return [t.transpose(1, 2) for t in packed.unflatten(-1, (3, 2, 8)).unbind(2)]
        if self.way == "there and back":
            packed = packed.transpose(0, 1).transpose(0, 1)
        return [self.heads(t) for t in packed.chunk(3, -1)]

    def forward(self, tokens, cache=None):
        q, k, v = self.split(self.qkv(self.embed(tokens)))
        if cache is not None:
            k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=cache is None)
        return self.head(mixed.transpose(1, 2).flatten(2)), (k, v)


@pytest.mark.parametrize("way", ["permuted", "indexed", "unbound", "there and back", "chunks"])
def test_every_way_of_splitting_a_projection_is_written_side_by_side(way):
    torch.manual_seed(0)
    es = TorchEggrollES(Attentive(way), pop_size=MEMBERS, sigma=0.5, seed=1, engine="fold")
    written = es.generate(PROMPTS["equal"], 10, 0.8, eos_token_id=(), seed=5)
    for member in range(MEMBERS):
        for number, prompt in enumerate(PROMPTS["equal"]):
            assert written.sequences(member)[number] == written_alone(es, member, prompt, number, 0.8)


@pytest.mark.parametrize(
    ("move", "fine"),
    [
        (lambda x: x.transpose(0, 1).transpose(0, 1), True),
        (lambda x: x.permute(2, 0, 1).permute(1, 2, 0), True),
        (lambda x: x.permute(1, 0, 2)[0], True),
        (lambda x: x.permute(1, 2, 0).unbind(0)[1].transpose(0, 1), True),
        (lambda x: x.transpose(0, 1).select(0, -1), True),
        (lambda x: (x.transpose(0, 1) * 2).neg().transpose(-2, 0), True),
        (lambda x: x.transpose(0, 1).select(1, 0), False),
        (lambda x: x.permute(2, 1, 0)[:, 0], False),
        (lambda x: x.transpose(0, 1).reshape(len(x), -1, 4), False),
        (lambda x: x.transpose(0, 1).flip(1).transpose(0, 1), False),
        (lambda x: (x.transpose(0, 1) + x[:, :1].transpose(0, 1).flip(1)).transpose(0, 1), False),
        (lambda x: x.transpose(0, 2).repeat(1, 1, 2).transpose(0, 2), False),
        (lambda x: (x.transpose(0, 2) @ torch.eye(len(x))).transpose(0, 2), False),
        (lambda x: x.permute(1, 2, 0)[0, 1], False),
    ],
)
def test_rows_are_followed_where_they_move_or_refused(move, fine):
    """Rows that end in their order are known; no op that may disturb them leaves a mark of order."""
    x = torch.arange(6 * 3 * 4.0).view(6, 3, 4)
    with Rows([], 2, 6, lambda *_: None):
        out = move(tag(x, "ordered"))
    assert (owner_of(out) == "ordered") == fine
    if fine:
        assert out.shape[0] == 6


@pytest.mark.parametrize(
    "out", [lambda x: x, lambda x: (x.sum(), None), lambda x: (x[0], None), lambda x: (x, None, 1)]
)
def test_a_module_that_gives_no_logits_is_refused(out):
    class Wrong(nn.Embedding):
        def forward(self, tokens, cache=None):
            return out(super().forward(tokens))

    es = TorchEggrollES(Wrong(10, 10), pop_size=4, seed=0)
    with pytest.raises(TypeError, match="must return logits"):
        es.generate([[1, 2]], max_new_tokens=2)


@pytest.mark.parametrize("prompts", [None, 3])
def test_what_holds_no_prompts_is_refused(prompts):
    with pytest.raises(TypeError, match="prompts must be a list"):
        made("GPT-2").generate(prompts, max_new_tokens=2)


def test_an_end_token_that_is_none_is_refused():
    with pytest.raises(TypeError, match="eos_token_id must be an integer"):
        made("GPT-2").generate([[1]], max_new_tokens=2, eos_token_id="x")


class Bare(nn.Module):
    """A transformer with a cache and without an embedding layer: rows of bare matrices."""

    def __init__(self):
        super().__init__()
        self.token, self.position = (nn.Parameter(torch.randn(n, 16) * 0.3) for n in (SYMBOLS, 32))
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, tokens, cache=None):
        past = 0 if cache is None else cache[0].shape[2]
        x = self.token[tokens] + self.position[past : past + tokens.shape[1]]
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        if cache is not None:
            k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=cache is None)
        return (x + self.out(mixed.transpose(1, 2).flatten(2))) @ self.token.T, (k, v)


@pytest.mark.filterwarnings("ignore:torcheggroll has no factored rule for add")
def test_rows_of_bare_matrices_are_followed_side_by_side():
    def written(engine):
        torch.manual_seed(0)
        es = TorchEggrollES(Bare(), pop_size=MEMBERS, sigma=0.1, rank=2, seed=0, engine=engine)
        return es, es.generate(PROMPTS["padded"], max_new_tokens=6, eos_token_id=()).tokens

    (side, together), (_, alone) = written("fold"), written("loop")
    assert torch.equal(together, alone)
    assert side.evaluator.last == "fold"
    assert len({tuple(row.flatten().tolist()) for row in together}) > 2
