"""Evolution by rewards for texts: it learns, and what fails is dropped and counted; adapters that PEFT loads."""

import io
import json
import math
import time
import warnings

import pytest
import rewards_elsewhere
import torch
from torch import nn
from torcheggroll import TorchEggrollES, target_modules
from torcheggroll.callbacks import JSONLines
from torcheggroll.generation import ProgressLine, RewardPool, Scores
from torcheggroll.generation.step import Written, conclude

SYMBOLS = 16


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(?!torcheggroll)")
        warnings.filterwarnings("ignore", message=".*(tie|tied|pytree|deprecated|fan_in_fan_out).*")
        yield


def llama(**more):
    transformers = pytest.importorskip("transformers", reason="needs Transformers")
    sizes = {
        "vocab_size": SYMBOLS, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": None,
        "eos_token_id": None, "pad_token_id": None,
    }  # fmt: skip
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes | more))


class Bigram(nn.Embedding):
    """The smallest language model."""

    def forward(self, tokens, cache=None):
        return super().forward(tokens), cache


def bigram(**settings):
    torch.manual_seed(0)
    return TorchEggrollES(Bigram(10, 10), **{"pop_size": 8, "sigma": 0.1, "seed": 0, "lr": 0.5, **settings})


def even(prompt, text):
    return sum(token % 2 == 0 for token in text) / max(len(text), 1)


def test_a_small_llama_learns_what_is_rewarded_within_sixty_steps():
    es = TorchEggrollES(
        llama(), pop_size=32, sigma=0.1, lr=0.1, rank=1, seed=0, optimizer=torch.optim.Adam, fitness="question"
    )
    prompts, rewards = [[1, 2, 3], [4, 5], [6], [7, 8, 9, 10]], []
    for _ in range(60):
        rewards.append(es.step_reward(prompts, even, max_new_tokens=16, pad_token_id=0))
        if rewards[-1] >= 0.95:
            break
    assert es.diagnostics.engine == "fold"
    assert 0.4 < rewards[0] < 0.6
    assert rewards[-1] >= 0.95


def test_a_text_is_what_was_written_without_its_end():
    seen = []
    es = bigram()
    es.step_reward([[1], [2]], lambda p, t: seen.append((p, t)) or 0.0, max_new_tokens=6, eos_token_id=[3, 4, 5, 6])
    assert {tuple(p) for p, _ in seen} == {(1,), (2,)}
    assert len(seen) == 16
    assert not any({3, 4, 5, 6} & set(text) for _, text in seen)
    assert len({len(text) for _, text in seen}) > 1


def test_strings_go_through_the_tokenizer():
    class Letters:
        def __call__(self, text):
            return [ord(c) - 97 for c in text]

        def decode(self, tokens):
            return "".join(chr(97 + t) for t in tokens)

    texts = []
    bigram().step_reward(["ab", "c"], lambda p, t: texts.append(t) or len(p), max_new_tokens=4, tokenizer=Letters())
    assert {len(t) for t in texts} == {4}
    assert set("".join(texts)) <= set("abcdefghij")


def moved_by(es, reward, **more):
    before = es.model.weight.detach().clone()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        es.step_reward([[1], [2]], reward, max_new_tokens=4, **more)
    return (es.model.weight - before).abs().max().item(), [str(w.message) for w in said]


class Sometimes:
    """Fails where member 2 writes its first text, in one of several ways."""

    def __init__(self, what):
        self.calls, self.what = 0, what

    def __call__(self, prompt, text):
        self.calls += 1
        return self.what() if self.calls == 5 else even(prompt, text)


def raised():
    raise KeyError("no such word")


@pytest.mark.parametrize(
    ("what", "count"), [(raised, "failed"), (lambda: None, "missing"), (lambda: math.nan, "missing")]
)
def test_a_failing_reward_drops_one_pair_and_is_counted(what, count):
    es = bigram(sigma=1.0)
    moved, said = moved_by(es, Sometimes(what))
    assert moved > 0
    assert es.diagnostics.dropped == 2
    assert getattr(es.texts.report, count) == 1
    assert any("no such word" in message for message in said) == (what is raised)
    assert torch.isfinite(es.model.weight).all()


@pytest.mark.parametrize("batched", [False, True])
def test_threads_score_as_the_callers_own_does(batched):
    reward = (lambda ps, ts: [even(p, t) for p, t in zip(ps, ts, strict=True)]) if batched else even
    want, got = bigram(), bigram()
    want.step_reward([[1], [2]], reward, batched=batched, max_new_tokens=6)
    got.step_reward([[1], [2]], RewardPool(reward, batched=batched, workers=3, timeout=30), max_new_tokens=6)
    assert torch.equal(want.model.weight, got.model.weight)


@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_what_takes_too_long_is_left_behind_and_the_others_are_scored(processes):
    began = time.monotonic()
    timeout = 1.0 if processes else 0.3  # less than a process takes to begin
    with RewardPool(rewards_elsewhere.slow, workers=2, processes=processes, timeout=timeout) as pool:
        scores = pool.score([0, 0], [[[1], [9]], [[2], [3]], [[8], [4]]])
    assert time.monotonic() - began < 55
    want = torch.tensor([[1.0, math.nan], [2.0, 3.0], [math.nan, 4.0]], dtype=torch.float64)
    assert torch.equal(scores.values.nan_to_num(-1), want.nan_to_num(-1))
    assert (scores.failed, scores.late, scores.missing) == (1, 1, 0)
    assert "the service is gone" in scores.reason


@pytest.mark.slow
def test_a_reward_that_ends_its_process_is_dropped_alone():
    with RewardPool(rewards_elsewhere.deadly, workers=3, processes=True) as pool:
        scores = pool.score([0, 0], [[[1], [9]], [[2], [3]], [[8], [4]]])
        assert pool.score([0], [[[5]]]).values.item() == 5.0  # the pool goes on
    want = torch.tensor([[1.0, -1.0], [2.0, 3.0], [8.0, 4.0]], dtype=torch.float64)
    assert torch.equal(scores.values.nan_to_num(-1), want)
    assert (scores.failed, scores.late, scores.missing) == (1, 0, 0)
    assert "a worker ended" in scores.reason


def test_a_wrong_number_of_scores_is_refused_and_nothing_moves():
    es = bigram()
    before = es.model.weight.detach().clone()
    for reward in (lambda ps, ts: [1.0], lambda ps, ts: 1.0):
        with pytest.raises(ValueError, match="one score for each of its 2 texts"):
            es.step_reward([[1], [2]], reward, batched=True, max_new_tokens=2)
    assert torch.equal(es.model.weight, before)
    assert es.epoch == 0


@pytest.mark.parametrize(
    "value", ["good", [1.0, 2.0], torch.ones(2), object()], ids=["text", "list", "tensor", "object"]
)
def test_a_score_that_is_no_number_is_refused_and_nothing_moves(value):
    es = bigram()
    before = es.model.weight.detach().clone()
    with pytest.raises(TypeError, match="a reward must give a number"):
        es.step_reward([[1]], lambda p, t: value, max_new_tokens=2)
    with pytest.raises((TypeError, ValueError), match=r"a reward must give a number|one score for each"):
        es.step_reward([[1]], lambda ps, ts: {"score": value}, batched=True, max_new_tokens=2)
    assert torch.equal(es.model.weight, before)


def test_a_tokenizer_that_can_not_decode_is_refused_before_anything_is_written():
    es = bigram()
    with pytest.raises(TypeError, match="must have decode"):
        es.step_reward(["a"], even, tokenizer=lambda text: [1], max_new_tokens=2)
    assert es.texts.tokens == 0


def test_pools_that_can_not_be_are_refused():
    with pytest.raises(TypeError, match="function"):
        RewardPool(3)
    with pytest.raises(TypeError, match="no lambda"):
        RewardPool(lambda p, t: 0.0, workers=1, processes=True)
    with pytest.raises(ValueError, match="workers"):
        RewardPool(even, timeout=1.0)
    with pytest.raises(ValueError, match="timeout"):
        RewardPool(even, workers=1, timeout=0.0)


def test_progress_and_lines_tell_how_it_goes(tmp_path):
    es, stream = bigram(), io.StringIO()
    es.callbacks += [ProgressLine(es, 3, stream), JSONLines(tmp_path / "run")]
    for _ in range(3):
        es.step_reward([[1]], even, max_new_tokens=4)
    lines = stream.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == ["step 1/3", "step 2/3", "step 3/3"]
    assert all("reward 0." in line and "tokens/s" in line and "left" in line for line in lines)
    rows = [json.loads(line) for line in (tmp_path / "run").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1, 2]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("names", [("q_proj", "v_proj", "down_proj"), ("embed_tokens", "o_proj"), None])
def test_peft_loads_the_folder_of_a_member_and_gives_its_logits(names, tied, tmp_path):
    peft = pytest.importorskip("peft", reason="needs PEFT")
    model = llama(tie_word_embeddings=tied)
    chosen = None if names is None else target_modules(names)
    es = TorchEggrollES(model, pop_size=4, sigma=0.05, rank=2, seed=0, param_filter=chosen)
    tokens = torch.randint(0, SYMBOLS, (3, 9))
    base = model(tokens).logits
    want = es.forward({"input_ids": tokens, "use_cache": False}).logits
    for spec, folder in es.adapters(tmp_path, [0, 3]):
        adapted = peft.PeftModel.from_pretrained(model, str(folder)).eval()
        with torch.no_grad():
            got = adapted(tokens).logits
        assert (got - want[spec.member]).abs().max() < 1e-5 * max(1.0, float(want.abs().max()))
        assert (got - base).abs().max() > 1e-2
        model = adapted.unload()


def test_a_report_tells_what_several_wrote_together():
    scores = [Scores(torch.tensor([[1.0, 2.0]]), 1, 0, 0, None), Scores(torch.tensor([[3.0, math.nan]]), 0, 0, 1, "x")]
    es = bigram()
    with pytest.warns(UserWarning, match="failed or took too long: x"):
        conclude(es, [Written(s, 10, seconds) for s, seconds in zip(scores, (2.0, 1.0), strict=True)], 0.0)
    report = es.texts.report
    assert (report.reward, report.failed, report.late, report.missing, report.tokens) == (2.0, 1, 0, 1, 20)
    assert report.tokens_per_second == 10.0  # they write at the same time
    assert report.spread == pytest.approx(1.5 / 2**0.5)
