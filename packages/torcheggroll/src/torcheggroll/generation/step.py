"""One generation of evolution by rewards: every member writes, the texts are scored, the weights move."""

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from torch import Tensor

from ._decode.prompts import check_prompts
from .generate import Generated, end_tokens
from .rewards import Reward, RewardPool

if TYPE_CHECKING:
    from ..es import TorchEggrollES


class RewardReport(NamedTuple):
    """What one generation wrote and earned, on this rank."""

    reward: float  # mean over the texts that have one
    spread: float  # deviation of the members' means
    failed: int  # calls of the reward that raised
    late: int  # calls that took too long
    missing: int  # scores that are None or not finite
    tokens: int  # written, without padding
    seconds: float  # of writing and scoring
    tokens_per_second: float  # of writing


def step_reward(
    es: "TorchEggrollES",
    prompts: Any,
    reward: Reward | RewardPool,
    *,
    batched: bool,
    tokenizer: Any,
    eos_token_id: int | Sequence[int] | None,
    settings: dict[str, Any],
) -> float:
    """Lets every member write, scores the texts, and moves the weights; see `TorchEggrollES.step_reward`."""
    pool = reward if isinstance(reward, RewardPool) else RewardPool(reward, batched=batched)
    check_prompts(prompts, tokenizer)
    if tokenizer is not None and not (hasattr(tokenizer, "batch_decode") or hasattr(tokenizer, "decode")):
        raise TypeError(
            f"tokenizer must have decode, from tokens to a string, for a reward that reads text, got "
            f"{type(tokenizer).__name__}; add it, or pass tokens as prompts and no tokenizer"
        )
    prompts = list(prompts)
    es.ask()
    began = time.perf_counter()
    with es.evaluation():
        written = es.generate(prompts, tokenizer=tokenizer, eos_token_id=eos_token_id, **settings)
        ends = end_tokens(es.model, tokenizer, eos_token_id)
        texts = [decoded(written, i, tokenizer, ends) for i in range(len(written.tokens))]
        scores = pool.score(prompts, texts)
    if scores.failed or scores.late:
        es.evaluator.warn("reward", f"a reward failed or took too long: {scores.reason or 'it took too long'}; the "
                          "pairs concerned are dropped and counted, this warning comes once")  # fmt: skip
    es.texts.report = _report(scores.values, es.texts.tokens, es.texts.seconds, began)._replace(
        failed=scores.failed, late=scores.late, missing=scores.missing
    )
    mean = es.tell(scores.values)
    assert mean is not None
    return mean


def decoded(written: Generated, member: int, tokenizer: Any, ends: Sequence[int]) -> list[Any]:
    """Returns the texts of one member, without the token that ended each: strings, or tokens without a tokenizer."""
    rows = [row[:-1] if row and row[-1] in ends else row for row in written.sequences(member)]
    if tokenizer is None:
        return rows
    if hasattr(tokenizer, "batch_decode"):
        return cast("list[Any]", tokenizer.batch_decode(rows, skip_special_tokens=True))
    return [tokenizer.decode(row) for row in rows]


def _report(values: Tensor, tokens: int, seconds: float, began: float) -> RewardReport:
    found = values[values.isfinite()]
    means = values.nanmean(1)
    means = means[means.isfinite()]
    return RewardReport(
        float(found.mean()) if len(found) else math.nan,
        float(means.std()) if len(means) > 1 else 0.0,
        0, 0, 0, tokens, time.perf_counter() - began, tokens / max(seconds, 1e-9),
    )  # fmt: skip
