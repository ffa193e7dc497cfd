"""Ways to evaluate a chunk of members; all see the same noise and give the same fitness.

``vmap``: all at once under torch.func.vmap, each perturbed op by its rule. ``loop``: one after the other.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ._catch import Catcher, Perturbed
from ._noise import Delta
from ._rules import ALWAYS, RULES

_PRECISE = (torch.float32, torch.float64)


class Evolved(NamedTuple):
    """One evolved parameter."""

    name: str
    value: nn.Parameter


class Task(NamedTuple):
    """What is asked of each member: ``finish(forward(data), data)``, either of which may be missing."""

    forward: Callable[[list[Any]], Any] | None  # the member's own data to the model's outputs
    finish: Callable[[Any, list[Any]], Any] | None  # outputs and own data to the result
    data: list[Any]  # tensors with the population in front; the member gets its slice of each

    def call(self, data: list[Any]) -> Any:
        """Do it for one member, on the perturbed model."""
        outputs = None if self.forward is None else self.forward(data)
        return outputs if self.finish is None else self.finish(outputs, data)


@contextmanager
def evaluation_mode(model: nn.Module) -> Generator[None, None, None]:
    """Evaluate without gradients and in eval mode; every module gets its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it would hide the parameters from us
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
        for module, training in modes:
            module.training = training


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
