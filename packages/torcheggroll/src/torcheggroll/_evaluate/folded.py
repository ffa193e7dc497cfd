"""Folded tensors, with members as first dimension and the shape of one member; and copy-on-write for plain tensors.

A value that differs between members may be written to a tensor that they share: a row of a preallocated output, a
cache, a running mean. The tensor then becomes folded: its storage is copied once per member, and every view of that
storage refers to the copies from its next use on. The storage itself is never written, so the caller's tensors, buffers
and inputs are unchanged; `CopyOnWrite.undo` restores the views.
"""

import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor


class FoldError(RuntimeError):
    """The model did something that all members can not do at once."""


def is_folded(value: object) -> bool:
    """Returns whether a tensor holds every member."""
    return isinstance(value, Tensor) and getattr(value, "_torcheggroll_folded", False)


def mark(value: Tensor) -> Tensor:
    """Says that a tensor ``(members, ...)`` holds every member."""
    value._torcheggroll_folded = True  # type: ignore[attr-defined]
    return value


def unmark(value: Tensor) -> Tensor:
    """Takes the mark off."""
    value._torcheggroll_folded = False  # type: ignore[attr-defined]
    return value


class Hidden:
    """Stands in a loss for an object that the model put among its outputs, and that may hold folded tensors.

    Args:
        kind: name of its type.
    """

    def __init__(self, kind: str) -> None:
        self.__dict__["_kind"] = kind

    def __getattr__(self, name: str) -> Any:
        """Refuses to be read."""
        raise FoldError(f"the loss reads {name!r} of a {self.__dict__['_kind']}, which may hold all members' tensors")


def hidden(value: Any) -> Any:
    """Wraps objects that may hold tensors out of reach of tree functions; numbers, strings and the like stay."""
    return Hidden(type(value).__name__) if hasattr(value, "__dict__") and not callable(value) else value


def aligned(value: Any, dims: int) -> Any:
    """Adds to a folded tensor the dimensions that broadcasting would add, behind the members."""
    if not is_folded(value) or value.dim() >= dims + 1:
        return value
    return value.reshape(value.shape[0], *[1] * (dims + 1 - value.dim()), *value.shape[1:])


def walk(tree: Any) -> Iterator[Tensor]:
    """Lists the tensors among arguments, in tuples, lists, dictionaries and slices too."""
    given: Any = tree
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, tuple | list):
        for value in cast("list[Any]", tree):
            if not isinstance(value, int | float | str):
                yield from walk(value)
    elif isinstance(tree, dict):
        yield from walk(list(given.values()))
    elif isinstance(tree, slice):
        yield from walk([given.start, given.stop, given.step])


def rebuilt(tree: Any, function: Callable[[Tensor], Any]) -> Any:
    """Replaces the tensors among arguments."""
    given: Any = tree
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, tuple | list):
        kind: Any = type(cast("object", tree))
        values = [rebuilt(value, function) for value in cast("list[Any]", tree)]
        return kind(*values) if hasattr(kind, "_fields") else kind(values)
    if isinstance(tree, dict):
        return {key: rebuilt(value, function) for key, value in given.items()}
    if isinstance(tree, slice):
        return slice(*[rebuilt(value, function) for value in (given.start, given.stop, given.step)])
    return tree


class _Copies(NamedTuple):
    """The copies that views of a storage refer to from now on."""

    old: Tensor  # all numbers of the storage; kept, so that nothing else takes its place in memory
    new: Tensor  # (members, numbers), or (numbers,) where the storage held the members before


class CopyOnWrite:
    """The storages that this evaluation wrote to, and the tensors that were led to the copies.

    Args:
        members: how many.
    """

    def __init__(self, members: int) -> None:
        self._members = members
        self._copies: dict[int, _Copies] = {}
        self._own: set[int] = set()  # storages of the caller that hold the members
        self._led: list[tuple[weakref.ref[Tensor], Tensor, bool]] = []

    def __bool__(self) -> bool:
        """Returns whether anything was copied."""
        return bool(self._copies)

    def keep(self, data: Tensor) -> None:
        """Declares folded data of the caller, which a write must not reach."""
        self._own.add(storage_of(data))

    def follow(self, tensor: Tensor) -> None:
        """Points a tensor to the copies if its storage was copied."""
        if tensor.layout == torch.strided and not tensor.is_meta:
            copies = self._copies.get(storage_of(tensor))
            if copies is not None:
                self._lead(tensor, copies)

    def fold(self, tensor: Tensor) -> None:
        """Prepares a tensor for a write of what differs between members."""
        if tensor.layout != torch.strided or tensor.is_meta or tensor.is_inference():
            raise FoldError("a tensor that is sparse, abstract or of inference mode is written to")
        key = storage_of(tensor)
        if key in self._copies:
            self._lead(tensor, self._copies[key])
            return
        folded = is_folded(tensor)
        if folded and key not in self._own:
            return
        with torch.no_grad():
            count = tensor.untyped_storage().nbytes() // tensor.element_size()
            old = tensor.detach().as_strided((count,), (1,), 0)
            new = old.clone() if folded else old.expand(self._members, count).clone()
        self._copies[key] = _Copies(old, new)
        self._lead(tensor, self._copies[key])

    def rebind(self, tensor: Tensor, data: Tensor) -> None:
        """Lets a tensor look into ``data``, which holds the members."""
        self._remember(tensor)
        tensor.data = data
        mark(tensor)

    def undo(self) -> None:
        """Restores the storage of every tensor."""
        for reference, own, folded in reversed(self._led):
            tensor = reference()
            if tensor is not None:
                tensor.data = own
                (mark if folded else unmark)(tensor)
        self._led.clear()

    def _remember(self, tensor: Tensor) -> None:
        self._led.append((weakref.ref(tensor), tensor.detach(), is_folded(tensor)))

    def _lead(self, tensor: Tensor, copies: _Copies) -> None:
        new, size, stride = copies.new, tuple(tensor.shape), tensor.stride()
        if new.dtype != tensor.dtype:
            new = new.view(tensor.dtype)
        data = new.as_strided(size, stride, tensor.storage_offset())
        if new.dim() == 2:
            data = new.as_strided((self._members, *size), (new.shape[1], *stride), tensor.storage_offset())
        self.rebind(tensor, data)


def storage_of(tensor: Tensor) -> int:
    return int(cast(Any, tensor.untyped_storage())._cdata)
