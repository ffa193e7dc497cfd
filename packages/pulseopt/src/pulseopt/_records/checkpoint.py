"""Checkpoints: parts that have a state, and settings that a checkpoint must agree on."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Stateful(Protocol):
    """Anything that can be saved and go on later."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that what comes next depends on."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> object:
        """Go on where the saved one stood."""
        ...


def stateful(part: object) -> Stateful:
    """Return the part, if it can be saved.

    Raises:
        TypeError: it cannot.
    """
    if isinstance(part, Stateful):
        return part
    raise TypeError(
        f"{type(part).__name__} must have state_dict() and load_state_dict() to be part of a checkpoint; add them"
    )


def check_same(owner: object, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of something that was built otherwise.

    Raises:
        ValueError: a setting differs, or the checkpoint lacks it.
    """
    for name, value in mine.items():
        if name not in theirs or theirs[name] != value:
            raise ValueError(
                f"{name} of the checkpoint must be {value!r} as in this {type(owner).__name__}, "
                f"got {theirs.get(name)!r}; build it with the settings it was saved with"
            )
