"""Put other values into parameters for a while, and bring the old ones back to the bit."""

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def lent(pairs: list[tuple[Tensor, Tensor]]) -> Generator[None]:
    """Copy each pair's second tensor into its first, and restore the first at the end, also after an exception.

    Args:
        pairs: (parameter, value) of one shape; the values are left alone.
    """
    with torch.no_grad():
        kept = [param.detach().clone(memory_format=torch.preserve_format) for param, _ in pairs]
    try:
        with torch.no_grad():
            for param, value in pairs:
                param.copy_(value)
        yield
    finally:
        with torch.no_grad():
            for (param, _), old in zip(pairs, kept, strict=True):
                param.copy_(old)
