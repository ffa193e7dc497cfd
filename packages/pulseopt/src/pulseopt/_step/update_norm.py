"""How far a step has moved the parameters.

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
    """Remembers where parameters were; the copies are kept from step to step and written anew."""

    def __init__(self) -> None:
        self._params: list[Tensor] = []
        self._before: list[Tensor] = []

    def begin(self, params: list[Tensor]) -> None:
        """Copy the parameters as they are now."""
        now = [param.detach() for param in params]
        same = len(params) == len(self._params) and all(a is b for a, b in zip(params, self._params, strict=True))
        plain = same and not any(hasattr(param, "full_tensor") for param in now)  # a DTensor has no list copy
        if plain and now and all(a.shape == b.shape for a, b in zip(now, self._before, strict=True)):
            torch._foreach_copy_(self._before, now)
        else:
            self._params, self._before = list(params), [param.clone() for param in now]

    def squared_moves(self) -> list[Tensor]:
        """Return each parameter's Σ (θ' - θ)², on its device."""
        now = [param.detach() for param in self._params]
        sums: list[Tensor] = []
        for start in range(0, len(now), _CHUNK):
            moves = self._before[start : start + _CHUNK]
            torch._foreach_sub_(moves, now[start : start + _CHUNK])  # θ - θ': its square is the same
            torch._foreach_mul_(moves, [move.conj() if move.is_complex() else move for move in moves])
            sums += [_whole(move.real.sum() if move.is_complex() else move.sum()) for move in moves]
        return sums

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles begin without the copies of the parameters."""
        return {"_params": [], "_before": []}


def _whole(part: Any) -> Tensor:
    """Return a sum over all shards of a DTensor."""
    whole: Tensor = part.full_tensor() if hasattr(part, "full_tensor") else part
    return whole


def norm(sums: list[Tensor]) -> float:
    """Return |Δ|, with one read for each device and dtype; 0 where there is no parameter."""
    alike: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for place, part in enumerate(sums):
        alike.setdefault((part.device, part.dtype), []).append(place)
    parts = [0.0] * len(sums)
    for places in alike.values():
        read: Any = torch.stack([sums[place] for place in places]).tolist()
        for place, value in zip(places, read, strict=True):
            parts[place] = value
    return float(plain_sum(parts) ** 0.5)  # (18)
