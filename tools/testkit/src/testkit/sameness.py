"""Equality to the bit, of tensors and of whatever holds them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def difference(came: object, expected: object, where: str = "") -> str:
    """Says where two values first differ; ``""`` where they are the same to the bit.

    Tensors are the same if their dtypes, shapes and bytes are: NaN equals NaN, and -0.0 is not 0.0.

    Args:
        came: a tensor, number, string, or a mapping or sequence of such.
        expected: what it is held against.
        where: the path to the two, which opens the answer.
    """
    if isinstance(came, Tensor) and isinstance(expected, Tensor):
        return _tensors(came.detach(), expected.detach(), where)
    if isinstance(came, Mapping) and isinstance(expected, Mapping):
        return _mappings(came, expected, where)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(came, list | tuple) and isinstance(expected, list | tuple):
        return _sequences(came, expected, where)  # pyright: ignore[reportUnknownArgumentType]
    return _values(came, expected, where)  # pyright: ignore[reportUnknownArgumentType]


def _values(came: object, expected: object, where: str) -> str:
    nan = isinstance(came, float) and isinstance(expected, float) and came != came and expected != expected
    same = nan or (type(came) is type(expected) and came == expected)
    return "" if same else f"{where or 'the value'} is {came!r}, not {expected!r}"


def _tensors(came: Tensor, expected: Tensor, where: str) -> str:
    where = where or "the tensor"
    if came.dtype != expected.dtype or came.shape != expected.shape:
        return f"{where} is {came.dtype} of shape {tuple(came.shape)}, not {expected.dtype} of {tuple(expected.shape)}"
    if torch.equal(_bytes(came), _bytes(expected)):
        return ""
    wide = torch.complex128 if came.is_complex() else torch.float64
    gap = (came.to(wide) - expected.to(wide)).abs().max().item()
    return f"{where} differs by up to {gap:.3g}: {_head(came)}, not {_head(expected)}"


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8) if tensor.numel() else tensor.new_empty(0)


def _head(tensor: Tensor) -> str:
    values = [f"{value.item():.6g}" for value in tensor.reshape(-1)[:3]]
    return f"[{', '.join(values)}{', …' if tensor.numel() > 3 else ''}]"


def _mappings(came: Mapping[Any, Any], expected: Mapping[Any, Any], where: str) -> str:
    if came.keys() != expected.keys():
        return f"{where or 'the mapping'} has the keys {list(came)}, not {list(expected)}"
    found = (difference(came[key], expected[key], f"{where}[{key!r}]") for key in expected)
    return next(filter(None, found), "")


def _sequences(came: Sequence[Any], expected: Sequence[Any], where: str) -> str:
    if len(came) != len(expected):
        return f"{where or 'the list'} has {len(came)} entries, not {len(expected)}"
    found = (difference(a, b, f"{where}[{index}]") for index, (a, b) in enumerate(zip(came, expected, strict=True)))
    return next(filter(None, found), "")
