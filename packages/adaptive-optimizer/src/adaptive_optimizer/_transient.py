"""Values that parameter groups hold for a while, and the base values that come back.

A learning rate that is a tensor is filled in place, here and back, without a read from its device: compiled and
capturable optimizers know it by its identity.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from adaptive_optimizer._knobs import Group


class Transient:
    """What was lent to the groups, and how to take it back."""

    def __init__(self) -> None:
        self._undo: list[tuple[Group, str, Any, Any]] = []

    def __bool__(self) -> bool:
        return bool(self._undo)

    def put(self, group: Group, key: str, value: Any) -> None:
        """Lend ``value`` to ``group[key]``."""
        self._undo.append((group, key, group[key], value))
        group[key] = value

    def fill(self, group: Group, key: str, change: Callable[[Tensor], Any]) -> Tensor:
        """Let ``change`` write into the tensor ``group[key]``; returns a copy of what it then holds."""
        tensor: Tensor = group[key]
        base = tensor.detach().clone()
        change(tensor.detach())
        self._undo.append((group, key, base, (tensor, tensor._version)))
        return tensor.detach().clone()

    def is_intact(self) -> bool:
        """Whether everything lent is still where it was put."""
        return all(_untouched(group[key], base, lent) for group, key, base, lent in self._undo)

    def take_back(self) -> None:
        """Give every group its base values back; what someone else has written meanwhile is a new base and stays."""
        while self._undo:
            group, key, base, lent = self._undo.pop()
            if not _untouched(group[key], base, lent):
                continue
            if isinstance(base, Tensor):
                group[key].detach().copy_(base)
            else:
                group[key] = base

    def base(self, group: Group, key: str) -> Any:
        """The base value of ``group[key]``, also while another is lent."""
        for lent_to, name, base, lent in self._undo:
            if lent_to is group and name == key:
                return base if _untouched(group[key], base, lent) else group[key]
        return group[key]


def _untouched(held: Any, base: Any, lent: Any) -> bool:
    """Whether the group holds what it was lent: that object, or the same tensor in the state it was left in."""
    if isinstance(base, Tensor):
        tensor, version = lent
        return held is tensor and held._version == version
    return held is lent
