"""Know each parameter's step count without reading the tensor that holds it.

torch.optim keeps the count as a tensor in the state, and reading a tensor waits for its device. Here the number is
remembered beside it, and trusted for as long as the tensor is the same one and nobody else has written to it; only
then, after loading a checkpoint for example, is it read once.
"""

# torch's operations on lists are private by name only.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

import torch
from torch import Tensor


class Counts:
    """The step count of each parameter, as a Python integer."""

    def __init__(self) -> None:
        self._known: dict[Tensor, tuple[Tensor, int, int]] = {}

    def advance(self, params: list[Tensor], steps: list[Tensor]) -> list[int]:
        """Add one to every tensor of ``steps`` and return the new counts."""
        counts = [self._count(param, step) + 1 for param, step in zip(params, steps, strict=True)]
        if steps and steps[0].is_cpu:
            torch._foreach_add_(steps, torch.tensor(1.0), alpha=1.0)
        else:
            torch._foreach_add_(steps, 1)
        for param, step, count in zip(params, steps, counts, strict=True):
            if not step.is_inference():
                self._known[param] = (step, step._version, count)
        return counts

    def forget(self) -> None:
        """Read every count again the next time."""
        self._known.clear()

    def _count(self, param: Tensor, step: Tensor) -> int:
        known = self._known.get(param)
        if known is not None and known[0] is step and known[1] == step._version:
            return known[2]
        return round(step.item())
