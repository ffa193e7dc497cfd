"""A ``random.Random`` as plain lists and numbers, so that a checkpoint read with ``weights_only=True`` holds it."""

import random
from typing import Any


def encode(rng: random.Random) -> list[Any]:
    """Return the generator's whole state: version, words, the spare Gaussian."""
    version, words, spare = rng.getstate()
    return [version, list(words), spare]


def decode(state: list[Any]) -> random.Random:
    """Return a generator that goes on where the encoded one stood.

    Raises:
        ValueError: ``state`` is no encoded generator.
    """
    rng = random.Random(0)
    try:
        version, words, spare = state
        rng.setstate((version, tuple(words), spare))
    except (TypeError, ValueError) as error:
        raise ValueError(f"a random state must be what encode() returned, got {error}") from error
    return rng
