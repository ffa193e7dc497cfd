"""Nested inputs: tuples, lists and dictionaries with tensors among their leaves."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from torch import Tensor


def map_tensors(function: Callable[[Tensor], Any], tree: Any, other: Callable[[Any], Any] | None = None) -> Any:
    """Rebuilds ``tree`` with ``function`` applied to each tensor; named tuples and Transformers' outputs stay so.

    Args:
        function: of a tensor.
        tree: tensors in tuples, lists and mappings.
        other: of whatever else is a leaf; None leaves it.
    """
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        items = cast("Mapping[str, object]", tree).items()
        named = {key: map_tensors(function, value, other) for key, value in items}
        owner: Any = type(cast("object", tree))
        return owner(**named) if hasattr(owner, "__dataclass_fields__") else named
    if not isinstance(tree, tuple | list):
        return tree if other is None else other(tree)
    kind: Any = type(cast("object", tree))
    values = [map_tensors(function, value, other) for value in cast("Sequence[object]", tree)]
    return kind(*values) if hasattr(kind, "_fields") else kind(values)


def tensors_of(tree: Any) -> list[Tensor]:
    """Lists the tensors of ``tree`` in order."""
    found: list[Tensor] = []
    map_tensors(found.append, tree)
    return found


def join(function: Callable[[list[Tensor]], Tensor], trees: list[Any]) -> Any:
    """Joins trees of one structure, leaf by leaf: ``function`` gets each leaf's tensors, one per tree."""
    columns = [tensors_of(tree) for tree in trees]
    if any(len(column) != len(columns[0]) for column in columns):
        raise RuntimeError("the members' outputs differ in structure; return the same structure for every member")
    joined = iter([function(list(leaves)) for leaves in zip(*columns, strict=True)])
    return map_tensors(lambda _: next(joined), trees[0])


def concatenated(chunks: Iterable[Any], members: int) -> Any:
    """Joins what chunks of members give, each copied into its place as it comes.

    A chunk's results must not outlive it: kept between the large tensors of one chunk and the next, they would leave
    holes in the C library's heap that no later chunk fits into, and memory would grow with the number of chunks.

    Args:
        chunks: trees of one structure, members in front.
        members: of all chunks.
    """
    out: Any = None
    whole: list[Tensor] = []
    at = 0
    for chunk in chunks:
        leaves = tensors_of(chunk)
        if not at:
            if all(len(leaf) == members for leaf in leaves):
                return chunk
            out = map_tensors(lambda t: t.new_empty(members, *t.shape[1:]), chunk)
            whole = tensors_of(out)
        at = _written(whole, leaves, at)
        del chunk, leaves  # the next chunk is made while the names are still bound
    return out


def _written(whole: list[Tensor], leaves: list[Tensor], at: int) -> int:
    """Copies the results of a chunk to where its first member belongs, and returns the next member's place."""
    if [(t.shape[1:], t.dtype) for t in leaves] != [(t.shape[1:], t.dtype) for t in whole]:
        raise RuntimeError("the members' outputs differ in structure; return the same structure for every member")
    for target, leaf in zip(whole, leaves, strict=True):
        target[at : at + len(leaf)] = leaf
    return at + len(leaves[0])
