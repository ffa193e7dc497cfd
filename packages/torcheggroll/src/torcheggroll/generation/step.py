"""One generation of evolution by rewards: every member generates texts, these are scored, the weights move."""

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch

from ._decode.prompts import check_prompts
from .generate import Generated, end_tokens
from .rewards import Reward, RewardPool, Scores

if TYPE_CHECKING:
    from ..es import TorchEggrollES


class RewardReport(NamedTuple):
    """The texts and rewards of one generation, on this rank; ``es.texts.report`` holds the last one.

    Args:
        reward: mean over the texts that have one.
        spread: standard deviation of the members' mean rewards.
        failed: number of calls of the reward that raised.
        late: number of calls that timed out.
        missing: number of scores that are None or not finite.
        tokens: number of generated tokens, without padding.
        seconds: time of generation and scoring.
        tokens_per_second: speed of generation.

    Example:
        >>> import torch
        >>> from torcheggroll import TorchEggrollES
        >>> class Bigram(torch.nn.Embedding):
        ...     def forward(self, tokens, cache=None):
        ...         return super().forward(tokens), cache
        >>> es = TorchEggrollES(Bigram(10, 10), pop_size=4, sigma=0.3, seed=0)
        >>> mean = es.step_reward([[1], [2]], lambda prompt, text: sum(text), max_new_tokens=3)
        >>> es.texts.report.tokens, es.texts.report.reward == mean
        (24, True)
    """

    reward: float  # mean over the texts that have one
    spread: float  # deviation of the members' means
    failed: int  # calls of the reward that raised
    late: int  # calls that took too long
    missing: int  # scores that are None or not finite
    tokens: int  # written, without padding
    seconds: float  # of writing and scoring
    tokens_per_second: float  # of writing


class Written(NamedTuple):
    """The scored texts of the members of one process."""

    scores: Scores
    tokens: int
    seconds: float  # of writing


def step_reward(es: "TorchEggrollES", prompts: Any, reward: Reward | RewardPool, **settings: Any) -> float:
    """Lets every member generate, scores the texts, and moves the weights; see `TorchEggrollES.step_reward`."""
    es.ask()
    began = time.perf_counter()
    with es.evaluation():
        written = scored(es, prompts, reward, **settings)
    conclude(es, [written], began)
    mean = es.tell(written.scores.values)
    assert mean is not None
    return mean


def scored(
    es: "TorchEggrollES",
    prompts: Any,
    reward: Reward | RewardPool,
    *,
    batched: bool = False,
    tokenizer: Any = None,
    eos_token_id: int | Sequence[int] | None = None,
    **settings: Any,
) -> Written:
    """Lets the members of this process generate, and scores the texts."""
    pool = reward if isinstance(reward, RewardPool) else RewardPool(reward, batched=batched)
    check_prompts(prompts, tokenizer)
    if tokenizer is not None and not (_has(tokenizer, "batch_decode") or _has(tokenizer, "decode")):
        raise TypeError(
            f"tokenizer must have decode, from tokens to a string, for a reward that reads text, got "
            f"{type(tokenizer).__name__}; add it, or pass tokens as prompts and no tokenizer"
        )
    prompts = list(prompts)
    written = es.generate(prompts, tokenizer=tokenizer, eos_token_id=eos_token_id, **settings)
    ends = end_tokens(es.model, tokenizer, eos_token_id)
    texts = [decoded(written, i, tokenizer, ends) for i in range(len(written.tokens))]
    return Written(pool.score(prompts, texts), es.texts.tokens, es.texts.seconds)


def conclude(es: "TorchEggrollES", written: Sequence[Written], began: float) -> None:
    """Reports what was written, here or on several actors, and warns once of rewards that fail."""
    failed, late, missing = (sum(getattr(w.scores, name) for w in written) for name in ("failed", "late", "missing"))
    reason = next((w.scores.reason for w in written if w.scores.reason is not None), "it took too long")
    if failed or late:
        es.evaluator.warn(
            "reward",
            f"a reward failed or took too long: {reason}; the pairs concerned are dropped and counted, this warning "
            "comes once",
        )
    values = torch.cat([w.scores.values for w in written])
    found, means = values[values.isfinite()], values.nanmean(1)
    means = means[means.isfinite()]
    tokens, writing = sum(w.tokens for w in written), max(w.seconds for w in written)
    es.texts.report = RewardReport(
        float(found.mean()) if len(found) else math.nan,
        float(means.std()) if len(means) > 1 else 0.0,
        failed, late, missing, tokens, time.perf_counter() - began, tokens / max(writing, 1e-9),
    )  # fmt: skip


def decoded(written: Generated, member: int, tokenizer: Any, ends: Sequence[int]) -> list[Any]:
    """Returns the texts of one member, without the token that ended each: strings, or tokens without a tokenizer."""
    rows = [row[:-1] if row and row[-1] in ends else row for row in written.sequences(member)]
    if tokenizer is None:
        return rows
    if _has(tokenizer, "batch_decode"):
        return cast("list[Any]", tokenizer.batch_decode(rows, skip_special_tokens=True))
    return [tokenizer.decode(row) for row in rows]


def _has(tokenizer: Any, method: str) -> bool:
    return callable(getattr(tokenizer, method, None))
