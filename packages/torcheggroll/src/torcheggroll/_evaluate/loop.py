"""The loop: one member after the other, on the model itself; it runs anything."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ..noise.perturbation import Delta
from .intercept import Catcher, Perturbed
from .rules import ALWAYS, RULES
from .task import Evolved, Task

_PRECISE = (torch.float32, torch.float64)


@contextmanager
def perturbed_weights(
    parameters: Sequence[Evolved], deltas: Sequence[Delta], warned: set[str]
) -> Generator[None, None, None]:
    """Let the model be one member: weights in float32 or wider hold its values and then their own, to the bit.

    Low precision would lose the perturbation, so such weights are never written: their uses are caught instead.

    Args:
        parameters: the evolved parameters.
        deltas: of one member, without the dimension of members.
        warned: ops that were warned about.
    """
    caught = [
        Perturbed(p.name, p.value, d) for p, d in zip(parameters, deltas, strict=True) if p.value.dtype not in _PRECISE
    ]
    precise = [
        Perturbed(p.name, p.value, d) for p, d in zip(parameters, deltas, strict=True) if p.value.dtype in _PRECISE
    ]
    saved = [p.value.detach().clone() for p in precise]
    try:
        with torch.no_grad():
            for p in precise:
                p.value.copy_(p.full())
        if caught:
            with Catcher(caught, RULES, ALWAYS, warned):
                yield
        else:
            yield
    finally:
        with torch.no_grad():
            for p, own in zip(precise, saved, strict=True):
                p.value.copy_(own)


def one_member(deltas: Sequence[Delta], i: int) -> list[Delta]:
    """Take one member out of a chunk's perturbations."""
    return [Delta(*(None if t is None else t[i] for t in d)) for d in deltas]


def run_loop(
    parameters: Sequence[Evolved], deltas: Sequence[Delta], task: Task, members: Sequence[int], warned: set[str]
) -> list[Any]:
    """Evaluate one member after the other, on the model itself."""
    results: list[Any] = []
    for i, member in enumerate(members):
        with perturbed_weights(parameters, one_member(deltas, i), warned):
            results.append(task.call([value[member] for value in task.data]))
    return results
