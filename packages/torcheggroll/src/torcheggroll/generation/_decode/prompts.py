"""Prompts as tokens, padded on the left to one length, with an attention mask."""

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Prompts(NamedTuple):
    """Prompts of one call."""

    tokens: Tensor  # (prompts, T) int64, padded on the left
    mask: Tensor  # (prompts, T) int64, 1 for a real token
    pad: int  # the token that stands for none

    def take(self, at: Sequence[int]) -> "Prompts":
        """Returns some of the prompts, padded as before."""
        index = torch.tensor(list(at), dtype=torch.int64, device=self.tokens.device)
        return Prompts(self.tokens[index], self.mask[index], self.pad)

    def part(self, first: int, last: int) -> "Prompts":
        """Returns the prompts ``first`` to ``last - 1``."""
        return Prompts(self.tokens[first:last], self.mask[first:last], self.pad)


def encode(
    prompts: Any, tokenizer: Any, model: nn.Module, max_new_tokens: int, ends: Sequence[int], pad: int | None,
    device: torch.device, padded: bool = True,
) -> Prompts:  # fmt: skip
    """Reads prompts: strings, sequences of tokens, or a tensor of them.

    Raises:
        TypeError: strings came without a tokenizer, or the prompts are not a sequence of prompts.
        ValueError: there is no prompt, one is empty, too long or outside the vocabulary, or padding has no token.
    """
    check_prompts(prompts, tokenizer)
    rows = [_tokens(prompt, tokenizer) for prompt in prompts]
    if not rows:
        raise ValueError("prompts must hold at least one prompt, got none")
    empty = [i for i, row in enumerate(rows) if not row]
    if empty:
        raise ValueError(f"a prompt must have at least one token, got none in {empty}; begin with the start token")
    longest = max(map(len, rows))
    _check_against(model, rows, longest, max_new_tokens)
    padding = _padding(tokenizer, model, ends, pad)
    vocabulary = _vocabulary(model)
    if padding is not None and vocabulary is not None and not 0 <= padding < vocabulary:
        raise ValueError(f"the token for padding must be in [0, {vocabulary}), got {padding}; pass pad_token_id")
    if padding is None:
        if padded and any(len(row) != longest for row in rows):
            raise ValueError(
                "prompts of different lengths need a token for padding, and neither the tokenizer nor the model has "
                "one; set tokenizer.pad_token = tokenizer.eos_token, or pass pad_token_id"
            )
        padding = 0
    tokens = torch.full((len(rows), longest), padding, dtype=torch.int64)
    mask = torch.zeros_like(tokens)
    for i, row in enumerate(rows):
        tokens[i, longest - len(row) :] = torch.tensor(row)
        mask[i, longest - len(row) :] = 1
    return Prompts(tokens.to(device), mask.to(device), padding)


def check_prompts(prompts: Any, tokenizer: Any) -> None:
    """Refuses what is not a sequence of prompts, and a tokenizer that can not be called."""
    if isinstance(prompts, str | bytes):
        raise TypeError(f"prompts must be a list of prompts, got one string, {prompts[:40]!r}; pass [{prompts[:40]!r}]")
    if hasattr(prompts, "keys") or not hasattr(prompts, "__iter__"):
        raise TypeError(
            f"prompts must be a list of strings or of tokens, got {type(prompts).__name__}; pass the strings and "
            "tokenizer=, or the tokens of each prompt without padding"
        )
    if isinstance(prompts, Tensor) and (prompts.dim() != 2 or prompts.is_floating_point()):
        raise TypeError(
            f"prompts as a tensor must be integers (prompts, T), got {prompts.dtype} of shape {tuple(prompts.shape)}"
        )
    if tokenizer is not None and not callable(tokenizer):
        raise TypeError(
            f"tokenizer must be callable, from a string to its tokens, got {type(tokenizer).__name__}; wrap it in a "
            "class with __call__ and decode, or take one of Transformers"
        )


def _tokens(prompt: Any, tokenizer: Any) -> list[int]:
    if isinstance(prompt, str):
        if tokenizer is None:
            raise TypeError(
                f"tokenizer must be given for prompts that are strings, got {prompt[:40]!r}; pass tokenizer=, or tokens"
            )
        found: Any = tokenizer(prompt)
        found = found["input_ids"] if hasattr(found, "keys") else found
        return [int(t) for t in found]
    if not hasattr(prompt, "__iter__"):
        raise TypeError(f"a prompt must be a string or a sequence of tokens, got {prompt!r}; pass a list of prompts")
    flat: Any = prompt.flatten() if isinstance(prompt, Tensor) else prompt
    try:
        return [operator.index(t) for t in flat]
    except TypeError as error:
        raise TypeError(f"the tokens of a prompt must be integers, got {prompt!r:.80}; pass integers") from error


def _padding(tokenizer: Any, model: nn.Module, ends: Sequence[int], pad: int | None) -> int | None:
    config: Any = getattr(model, "generation_config", None)
    known = (pad, getattr(tokenizer, "pad_token_id", None), getattr(config, "pad_token_id", None), *ends)
    return next((int(token) for token in known if token is not None), None)


def _vocabulary(model: nn.Module) -> int | None:
    found = getattr(getattr(model, "config", None), "vocab_size", None)
    return found if isinstance(found, int) else None


def _check_against(model: nn.Module, rows: list[list[int]], longest: int, max_new_tokens: int) -> None:
    config: Any = getattr(model, "config", None)
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and longest + max_new_tokens > positions:
        raise ValueError(
            f"a prompt and its continuation must fit the model's {positions} positions, got {longest} tokens and "
            f"max_new_tokens={max_new_tokens}; shorten the prompt, or ask for fewer tokens"
        )
    vocabulary = _vocabulary(model)
    if vocabulary is not None:
        wrong = sorted({t for row in rows for t in row if not 0 <= t < vocabulary})
        if wrong:
            raise ValueError(f"tokens must be in [0, {vocabulary}), got {wrong[:5]}; use the model's own tokenizer")
