"""Typed wrappers of torch functions with incomplete annotations."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_torch: Any = torch


def tensor_of(array: NDArray[Any]) -> Tensor:
    """A tensor on the array's own memory; a read-only array is copied."""
    made: Tensor = _torch.from_numpy(array if array.flags.writeable else np.array(array))
    return made


def outputs(model: nn.Module, *inputs: Tensor) -> Tensor:
    """What the model gives for ``inputs``."""
    given: Tensor = model(*inputs)
    return given


def advance(optimizer: Any) -> None:
    """One step of an optimizer."""
    optimizer.step()


def backward(loss: Any) -> None:
    """Gradients of ``loss``."""
    loss.backward()


def parts(rows: Any, size: int) -> list[Tensor]:
    """``rows`` in stretches of ``size``."""
    return list(rows.split(size))


def number(value: Any) -> float:
    """The one entry of a tensor."""
    return float(value.item())


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Runs the body with torch's CPU stream at ``seed`` and gives the stream back as it was."""
    with _torch.random.fork_rng(devices=[]):
        _torch.manual_seed(seed)
        yield
