"""All members at once under ``torch.func.vmap``, each perturbed op by its rule."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..filters import NamedParameter
from ..noise.perturbation import Delta
from .intercept import Interceptor, perturbed
from .loss_rules import LOSS_RULES
from .rules import ALWAYS, RULES
from .state import StartingPoint
from .task import Task
from .tree import concatenated
from .warn import WarnOnce


class Vmap:
    """Evaluates the members of a chunk under vmap.

    Args:
        parameters: the evolved ones.
        warn: called for ops without a rule.
        start: what every member starts from.
    """

    def __init__(self, parameters: Sequence[NamedParameter], warn: WarnOnce, start: StartingPoint) -> None:
        self._parameters = parameters
        self._warn = warn
        self.largest = 0  # bytes of a member's largest tensor
        self.used: set[str] = set()  # parameters that an op was seen to use
        self.at = ""  # the op that it failed at

    def run(self, deltas: Sequence[Delta], task: Task) -> Any:
        """Returns the results of a chunk, members in front."""
        present = [[t is not None for t in d] for d in deltas]
        tensors = [t for d in deltas for t in d if t is not None]

        def one(tensors: list[Tensor], data: list[Any]) -> Any:
            given = iter(tensors)
            own = [Delta(*(next(given) if there else None for there in row)) for row in present]
            intercept = Interceptor(perturbed(self._parameters, own), RULES, ALWAYS | LOSS_RULES, self._warn)
            self.at = ""
            try:
                with intercept:
                    out = task.call(data)
            except Exception:
                self.at = intercept.at
                raise
            finally:
                self.largest = max(self.largest, intercept.largest)
                self.used |= intercept.used
            return out

        data = [value.clone() for value in task.data]
        return torch.func.vmap(one, in_dims=(0, 0), randomness="same")(tensors, data)

    def join(self, chunks: Iterable[Any], members: int) -> Any:
        """Joins the results of chunks as they come."""
        return concatenated(chunks, members)
