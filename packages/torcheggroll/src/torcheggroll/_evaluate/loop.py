"""The loop: one member after the other, on the model itself; it runs anything."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ..filters import NamedParameter
from ..noise.perturbation import Delta
from .intercept import Interceptor, perturbed
from .rules import ALWAYS, RULES
from .state import StartingPoint
from .task import Task
from .tree import join, tensors_of
from .warn import WarnOnce

_PRECISE = (torch.float32, torch.float64)


class Loop:
    """Evaluates one member after the other.

    Args:
        parameters: the evolved ones.
        warn: called for ops without a rule.
        start: what every member starts from.
    """

    largest = 0  # bytes of a member's largest tensor: nothing here holds several members
    at = ""

    def __init__(self, parameters: Sequence[NamedParameter], warn: WarnOnce, start: StartingPoint) -> None:
        self.used = {p.name for p in parameters}
        self._parameters = parameters
        self._warn = warn
        self._start = start

    def run(self, deltas: Sequence[Delta], task: Task) -> list[Any]:
        """Returns the result of each member of a chunk."""
        results: list[Any] = []
        for i in range(deltas[0].members):
            self._start.again()
            with perturbed_weights(self._parameters, one_member(deltas, i), self._warn):
                results.append(task.call([value[i].clone() for value in task.data]))
        return results

    def join(self, chunks: Iterable[list[Any]], members: int) -> Any:
        """Joins the results of chunks: stacked where each member gave tensors, else a list."""
        results = [value for chunk in chunks for value in chunk]
        return join(torch.stack, results) if all(tensors_of(result) for result in results) else results


@contextmanager
def perturbed_weights(
    parameters: Sequence[NamedParameter], deltas: Sequence[Delta], warn: WarnOnce
) -> Generator[None, None, None]:
    """Lets the model be one member: weights in float32 or wider hold its values and then their own, to the bit.

    Low precision would lose the perturbation, so such weights are never written: their uses are intercepted instead.

    Args:
        parameters: the evolved ones.
        deltas: of one member, without the dimension of members.
        warn: called for ops without a rule.
    """
    every = perturbed(parameters, deltas)
    precise = [p for p in every if p.value.dtype in _PRECISE]
    saved = [p.value.detach().clone() for p in precise]
    try:
        with torch.no_grad():
            for p in precise:
                p.value.copy_(p.full())
        if len(precise) == len(every):
            yield
        else:
            with Interceptor([p for p in every if p.value.dtype not in _PRECISE], RULES, ALWAYS, warn):
                yield
    finally:
        with torch.no_grad():
            for p, before in zip(precise, saved, strict=True):
                p.value.copy_(before)


def one_member(deltas: Sequence[Delta], i: int) -> list[Delta]:
    """Takes one member out of a chunk's perturbations."""
    return [Delta(*(None if t is None else t[i] for t in d)) for d in deltas]
