"""Checkpoints: stateful parts, settings that must agree, random generators as plain values."""

import random
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Stateful(Protocol):
    """Anything that can be saved and resumed."""

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that the next choice depends on."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> object:
        """Resumes from what `state_dict` returned."""
        ...


def stateful(part: object) -> Stateful:
    """Returns the part, if it can be saved.

    Raises:
        TypeError: it cannot.
    """
    if isinstance(part, Stateful):
        return part
    raise TypeError(
        f"{type(part).__name__} must have state_dict() and load_state_dict() to be part of a checkpoint; add them"
    )


def check_same(owner: object, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Rejects a checkpoint that was saved under other settings.

    Raises:
        ValueError: a setting differs, or the checkpoint lacks it.
    """
    for name, value in mine.items():
        if name not in theirs or theirs[name] != value:
            raise ValueError(
                f"{name} of the checkpoint must be {value!r} as in this {type(owner).__name__}, "
                f"got {theirs.get(name)!r}; build it with the settings it was saved with"
            )


def encode(rng: random.Random) -> list[Any]:
    """Returns the generator's whole state as lists and numbers, which ``torch.load(weights_only=True)`` reads."""
    version, words, spare = rng.getstate()
    return [version, list(words), spare]


def decode(state: list[Any]) -> random.Random:
    """Returns a generator that continues from an encoded state.

    Raises:
        ValueError: ``state`` is not an encoded generator.
    """
    rng = random.Random(0)
    try:
        version, words, spare = state
        rng.setstate((version, tuple(words), spare))
    except (TypeError, ValueError) as error:
        raise ValueError(f"a random state must be what encode() returned, got {error}") from error
    return rng
