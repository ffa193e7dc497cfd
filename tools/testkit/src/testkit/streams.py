"""The process-wide random streams: seeded together, and restored after use."""

import random
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch


def seed(value: int) -> None:
    """Seeds the global streams of torch, Python and, where it is loaded, NumPy."""
    torch.manual_seed(value)  # pyright: ignore[reportUnknownMemberType]
    random.seed(value)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(value)


def states() -> dict[str, Any]:
    """Returns where each stream is, in a form that can be compared."""
    found: dict[str, Any] = {"torch": torch.get_rng_state(), "Python": random.getstate()}
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        kind, keys, *rest = numpy.random.get_state()
        found["NumPy"] = [kind, keys.tolist(), *rest]
    return found


@contextmanager
def seeded(value: int) -> Generator[None, None, None]:
    """Seeds the streams for a block, and puts those of torch's CPU and of Python back where they were."""
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    try:
        seed(value)
        yield
    finally:
        torch.set_rng_state(torch_state)
        random.setstate(python_state)
