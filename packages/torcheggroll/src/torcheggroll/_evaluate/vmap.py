"""All members at once under ``torch.func.vmap``, each perturbed op by its rule."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..noise.perturbation import Delta
from .intercept import Catcher, Perturbed
from .rules import ALWAYS, RULES
from .task import Evolved, Task


def run_vmap(
    parameters: Sequence[Evolved], deltas: Sequence[Delta], task: Task, members: Sequence[int], warned: set[str]
) -> tuple[Any, int]:
    """Evaluate all members at once; gives their results, members in front, and the bytes of one's largest tensor."""
    present = [[t is not None for t in d] for d in deltas]
    tensors = [t for d in deltas for t in d if t is not None]
    largest = 0

    def one(tensors: list[Tensor], data: list[Any]) -> Any:
        nonlocal largest
        given = iter(tensors)
        own = [Delta(*(next(given) if there else None for there in row)) for row in present]
        named = [Perturbed(p.name, p.value, d) for p, d in zip(parameters, own, strict=True)]
        with Catcher(named, RULES, ALWAYS, warned) as catch:
            out = task.call(data)
        largest = catch.largest
        return out

    data = [value[members[0] : members[-1] + 1] for value in task.data]
    out = torch.func.vmap(one, in_dims=(0, 0), randomness="error")(tensors, data)
    return out, largest
