"""How far a step has moved the parameters.

|Δ| = √ Σ (θ' - θ)²    (18)  over all entries of all parameters
"""

# torch's operations on lists are private by name only, and tolist() is not typed.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from typing import Any

import torch
from torch import Tensor

from pulseopt._sums import plain_sum


def copies(params: list[Tensor]) -> list[Tensor]:
    """Return the parameters as they are now."""
    return [param.detach().clone() for param in params]


def squared_moves(before: list[Tensor], params: list[Tensor]) -> list[Tensor]:
    """Return each parameter's Σ (θ' - θ)², on its device; ``before`` is used up."""
    if not before:
        return []
    now = [param.detach() for param in params]
    torch._foreach_neg_(before)
    torch._foreach_add_(before, now)
    torch._foreach_mul_(before, before)
    sums = [move.real.sum() if move.is_complex() else move.sum() for move in before]
    return [_whole(part) for part in sums]


def _whole(part: Any) -> Tensor:
    """Return a sum over all shards of a DTensor."""
    whole: Tensor = part.full_tensor() if hasattr(part, "full_tensor") else part
    return whole


def norm(sums: list[Tensor]) -> float:
    """Return |Δ|, with one read of each device; 0 where there is no parameter."""
    by_device: dict[torch.device, list[int]] = {}
    for place, part in enumerate(sums):
        by_device.setdefault(part.device, []).append(place)
    parts = [0.0] * len(sums)
    for places in by_device.values():
        read: Any = torch.stack([sums[place].double() for place in places]).tolist()
        for place, value in zip(places, read, strict=True):
            parts[place] = value
    return float(plain_sum(parts) ** 0.5)  # (18)
