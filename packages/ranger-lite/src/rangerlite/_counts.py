"""Step counts as Python integers, known without reading the tensors that hold them.

torch.optim keeps the count as a tensor in the state, and reading a tensor waits for its device. Here the number is
cached beside the tensor and used as long as nothing else has written to the tensor. Otherwise, such as after loading a
checkpoint, the tensor is read once.
"""

# torch's operations on lists are private by name only.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

import torch
from torch import Tensor


class StepCounts:
    """The number in each step tensor, remembered for the tensor's version."""

    def __init__(self) -> None:
        self._known: dict[Tensor, tuple[int, int]] = {}

    def advance(self, steps: list[Tensor]) -> list[int]:
        """Adds one to every tensor of ``steps`` and returns the new counts."""
        counts = [self._count(step) + 1 for step in steps]
        if steps[0].is_cpu:
            torch._foreach_add_(steps, torch.tensor(1.0), alpha=1.0)  # without alpha, torch reads the tensor
        else:
            torch._foreach_add_(steps, 1)
        for step, count in zip(steps, counts, strict=True):
            if not step.is_inference():
                self._known[step] = (step._version, count)
        return counts

    def _count(self, step: Tensor) -> int:
        version, count = self._known.get(step, (None, 0))
        return count if version is not None and version == step._version else round(step.item())
