"""Nested inputs: tuples, lists and dictionaries with tensors among their leaves."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor


def map_tensors(function: Callable[[Tensor], Any], tree: Any) -> Any:
    """Rebuild ``tree`` with ``function`` applied to each tensor; named tuples become what they were."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return {key: map_tensors(function, value) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(map_tensors(function, value) for value in tree))
    if isinstance(tree, tuple | list):
        return type(tree)(map_tensors(function, value) for value in tree)
    return tree


def tensors_of(tree: Any) -> list[Tensor]:
    """List the tensors of ``tree`` in order."""
    found: list[Tensor] = []
    map_tensors(found.append, tree)
    return found


def join(function: Callable[[list[Tensor]], Tensor], trees: list[Any]) -> Any:
    """Join trees of one structure, leaf by leaf: ``function`` gets each leaf's tensors, one per tree."""
    columns = [tensors_of(tree) for tree in trees]
    if any(len(column) != len(columns[0]) for column in columns):
        raise RuntimeError("the members' outputs differ in structure; return the same structure for every member")
    joined = iter([function(list(leaves)) for leaves in zip(*columns, strict=True)])
    return map_tensors(lambda _: next(joined), trees[0])
