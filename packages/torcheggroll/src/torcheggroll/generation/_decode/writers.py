"""Continuation of one batch of prompts: by the model's own ``generate``, or by a loop over a cache."""

import copy
import inspect
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from ..sampling import GumbelNoise
from .prompts import Prompts


class Plan(NamedTuple):
    """The settings of a generation."""

    max_new_tokens: int
    ends: tuple[int, ...]  # tokens that end a text
    temperature: float
    top_p: float
    seed: int
    cache: str | None  # of Transformers: "dynamic", "static", …; None: what the model takes by itself


class Writer(Protocol):
    """Continues a batch of prompts."""

    padded: bool  # whether a batch may hold prompts of different lengths

    def write(self, prompts: Prompts, numbers: Sequence[int], plan: Plan) -> Tensor:
        """Returns ``(rows, tokens)``, what follows the prompts of a batch.

        Args:
            prompts: of all rows, member by member.
            numbers: of the prompts that each member has, in their order.
            plan: what to write.
        """
        ...

    def logits(self, prompts: Prompts) -> tuple[Tensor, Any]:
        """Returns the logits of the token behind each prompt, and the cache that was filled for it."""
        ...


def writer_of(model: nn.Module) -> Writer:
    """Chooses by what the model offers.

    Raises:
        TypeError: it has neither ``generate`` nor a cache, or an encoder.
    """
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        raise TypeError(
            f"the model must continue its prompts, as causal language models do, got {type(model).__name__} with an "
            "encoder; wrap it in a module with forward(tokens, cache) -> logits, cache"
        )
    if hasattr(model, "generate") and hasattr(model, "generation_config"):
        return TransformersWriter(model)
    taken = [
        p for p in inspect.signature(model.forward).parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]  # fmt: skip
    if len(taken) >= 2 and taken[1].name in ("cache", "state", "past"):
        return CacheWriter(model)
    raise TypeError(
        f"the model must have generate(), as those of Transformers, or forward(tokens, cache) -> logits, cache, got "
        f"{type(model).__name__}.forward{inspect.signature(model.forward)}; wrap it in a module with one of the two"
    )


class TransformersWriter:
    """Writes by ``generate`` of Transformers: greedy decoding of scores that carry the Gumbel noise.

    Args:
        model: a causal language model.
    """

    padded = True

    def __init__(self, model: Any) -> None:
        self._model: Any = model

    def write(self, prompts: Prompts, numbers: Sequence[int], plan: Plan) -> Tensor:
        """Returns ``(rows, tokens)``, what follows the prompts."""
        length = prompts.tokens.shape[1]
        noise = GumbelNoise(plan.seed, numbers, length, plan.temperature, plan.top_p)
        with greedy(self._model, plan, prompts.pad) as config:
            out = self._model.generate(
                input_ids=prompts.tokens,
                attention_mask=prompts.mask,
                generation_config=config,
                logits_processor=[noise],
            )
        return cast(Tensor, out[:, length:])

    def logits(self, prompts: Prompts) -> tuple[Tensor, Any]:
        """Returns the logits of the token behind each prompt, and the cache."""
        position = (prompts.mask.cumsum(-1) - 1).clamp(min=0)
        given = {"input_ids": prompts.tokens, "attention_mask": prompts.mask, "position_ids": position}
        known = inspect.signature(self._model.forward).parameters
        with eager_experts(self._model):
            out = self._model(use_cache=True, **{name: v for name, v in given.items() if name in known})
        return out.logits[:, -1], getattr(out, "past_key_values", None)


@contextmanager
def greedy(model: Any, plan: Plan, pad: int) -> Generator[Any, None, None]:
    """Yields a generation config for greedy decoding, and restores the model's own afterwards."""
    before = model.generation_config
    config = copy.deepcopy(before)
    config.max_new_tokens, config.max_length, config.min_length = plan.max_new_tokens, None, None
    config.do_sample, config.num_beams, config.num_return_sequences = False, 1, 1
    config.temperature = config.top_p = config.top_k = None
    config.eos_token_id, config.pad_token_id = (list(plan.ends) or None), pad
    config.use_cache, config.return_dict_in_generate, config.disable_compile = True, False, True
    config.output_scores = config.output_logits = config.output_attentions = config.output_hidden_states = False
    if plan.cache is not None:
        config.cache_implementation = None if plan.cache == "dynamic" else plan.cache
    model.generation_config = config
    try:
        with eager_experts(model):
            yield config
    finally:
        model.generation_config = before


@contextmanager
def eager_experts(model: nn.Module) -> Generator[None, None, None]:
    """Lets mixtures of experts of Transformers run their plain loop, whose rows stay those of one member."""
    found: list[Any] = [getattr(m, "config", None) for m in model.modules()]
    configs = {id(config): config for config in found if config is not None}
    name = "_experts_implementation_internal"
    before: list[tuple[Any, Any]] = [
        (c, getattr(c, name)) for c in configs.values() if getattr(c, name, None) is not None
    ]
    try:
        for config, _ in before:
            setattr(config, name, "eager")
        yield
    finally:
        for config, value in before:
            setattr(config, name, value)


class CacheWriter:
    """Writes by a module ``forward(tokens, cache) -> logits, cache``; the first cache is None.

    Args:
        model: ``tokens (rows, T)`` to ``logits (rows, T, vocabulary)``; tensors of the cache have the rows in front.
    """

    padded = False

    def __init__(self, model: nn.Module) -> None:
        self._model: Callable[..., tuple[Tensor, Any]] = model

    def write(self, prompts: Prompts, numbers: Sequence[int], plan: Plan) -> Tensor:
        """Returns ``(rows, tokens)``, what follows prompts of one length."""
        noise = GumbelNoise(plan.seed, numbers, prompts.tokens.shape[1], plan.temperature, plan.top_p)
        ends = torch.tensor(plan.ends, dtype=torch.int64, device=prompts.tokens.device)
        going = torch.ones(len(prompts.tokens), dtype=torch.bool, device=prompts.tokens.device)
        tokens, cache, written = prompts.tokens, None, list[Tensor]()
        for position in range(plan.max_new_tokens):
            logits, cache = self._called(tokens, cache)
            token = torch.where(going, noise.perturb(logits[:, -1], position).argmax(-1), prompts.pad)
            written.append(token)
            if plan.ends:
                going = going & ~torch.isin(token, ends)
                if not bool(going.any()):
                    break
            tokens = token.unsqueeze(1)
        return torch.stack(written, 1)

    def logits(self, prompts: Prompts) -> tuple[Tensor, Any]:
        """Returns the logits of the token behind each prompt, and the cache."""
        logits, cache = self._called(prompts.tokens, None)
        return logits[:, -1], cache

    def _called(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        out: object = self._model(tokens, cache)
        pair = tuple(cast("Iterable[object]", out)) if isinstance(out, tuple) else (out,)
        logits = pair[0] if len(pair) == 2 else None
        if not isinstance(logits, Tensor) or logits.dim() != 3 or len(logits) != len(tokens):
            got = ", ".join(f"{type(v).__name__} {tuple(getattr(v, 'shape', ()))}" for v in pair)
            raise TypeError(
                f"forward(tokens, cache) must return logits ({len(tokens)}, T, vocabulary) and the cache, got {got}; "
                "return (logits, None) without a cache"
            )
        return logits, pair[-1]
