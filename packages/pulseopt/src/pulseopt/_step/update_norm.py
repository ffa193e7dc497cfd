"""The norm of an update over all parameters.

|Δ| = √ Σ (θ' - θ)²    (18)  over all entries of all parameters
"""

# torch's operations on lists are private by name only, and tolist() is not typed.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from typing import Any

import torch
from torch import Tensor

from pulseopt._maths.sums import plain_sum

_CHUNK = 8  # tensors that are subtracted, squared and summed while they are in the processor's cache


class UpdateNorm:
    """Measures the length of each step; the copies of the parameters are kept from step to step and written anew.

    Args:
        foreach: take all lengths in one launch; None does where that is faster, which is not on the CPU. The lengths
            are rounded once more then.
    """

    def __init__(self, foreach: bool | None = None) -> None:
        self._foreach = foreach
        self._exponent = 1  # what the sums that are kept have to be raised to
        self._params: list[Tensor] = []
        self._before: list[Tensor] = []
        self._sums: list[Tensor] = []  # of the last step, not read yet
        self._last: float | None = None

    def begin(self, params: list[Tensor]) -> None:
        """Copies the parameters as they are now."""
        now = [param.detach() for param in params]
        same = len(params) == len(self._params) and all(a is b for a, b in zip(params, self._params, strict=True))
        plain = same and not any(hasattr(param, "full_tensor") for param in now)  # a DTensor has no list copy
        if plain and now and all(a.shape == b.shape for a, b in zip(now, self._before, strict=True)):
            torch._foreach_copy_(self._before, now)
        else:
            self._params, self._before = list(params), [param.clone() for param in now]

    def end(self) -> None:
        """Sums each parameter's (θ' - θ)² on its device; waits for nothing."""
        now = [param.detach() for param in self._params]
        self._sums, self._last, self._exponent = [], 0.0, 1
        sharded = any(hasattr(param, "full_tensor") for param in now)
        elsewhere = bool(now) and all(param.device.type != "cpu" for param in now)
        if now and not sharded and (elsewhere if self._foreach is None else self._foreach):
            torch._foreach_sub_(self._before, now)
            self._sums, self._exponent = list(torch._foreach_norm(self._before)), 2
            return
        for start in range(0, len(now), _CHUNK):
            moves = self._before[start : start + _CHUNK]
            torch._foreach_sub_(moves, now[start : start + _CHUNK])  # θ - θ': its square is the same
            torch._foreach_mul_(moves, [move.conj() if move.is_complex() else move for move in moves])
            self._sums += [_whole(move.real.sum() if move.is_complex() else move.sum()) for move in moves]

    def read(self) -> float | None:
        """Returns |Δ| of the last step, with one read for each device and dtype; None before the first step."""
        if self._sums:
            alike: dict[tuple[torch.device, torch.dtype], list[int]] = {}
            for index, part in enumerate(self._sums):
                alike.setdefault((part.device, part.dtype), []).append(index)
            parts = [0.0] * len(self._sums)
            for indices in alike.values():
                read: Any = torch.stack([self._sums[index] for index in indices]).tolist()
                for index, value in zip(indices, read, strict=True):
                    parts[index] = value
            self._sums, self._last = [], plain_sum([part**self._exponent for part in parts]) ** 0.5  # (18)
        return self._last

    def load(self, last: float | None) -> None:
        """Restores the length of the last step."""
        self._sums, self._last = [], last

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles begin without the copies of the parameters."""
        return {**self.__dict__, "_params": [], "_before": [], "_last": self.read(), "_sums": []}


def _whole(part: Any) -> Tensor:
    """Returns a sum over all shards of a DTensor."""
    whole: Tensor = part.full_tensor() if hasattr(part, "full_tensor") else part
    return whole
