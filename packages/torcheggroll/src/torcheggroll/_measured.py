"""What evaluations gave, as one table of numbers."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, cast

import torch
from torch import Tensor

NAN = float("nan")


def fitness_table(results: Any) -> Tensor:
    """Turn fitnesses into ``(N,)``, or ``(N, evaluations)``, float64 on the CPU.

    Args:
        results: a tensor, or one number, tensor, sequence of numbers, or None for each member. None and a member that
            is missing some evaluations become NaN.

    Raises:
        TypeError: something is no real number.
    """
    if isinstance(results, Tensor):
        if results.is_complex() or results.dim() not in (1, 2):
            raise TypeError(f"fitness must be one real number per member, got {results.dtype} {tuple(results.shape)}")
        return results.detach().to("cpu", torch.float64)
    tensors = [r for r in results if isinstance(r, Tensor)]
    if tensors and len(tensors) == len(results) and all(t.numel() == 1 for t in tensors):
        return torch.stack([t.detach().reshape(()) for t in tensors]).to("cpu", torch.float64)
    rows = [_row(result) for result in results]
    width = max((len(row) for row in rows), default=1)
    filled = [row + [NAN] * (width - len(row)) for row in rows]
    table = torch.tensor(filled, dtype=torch.float64).reshape(len(rows), width)
    return table.squeeze(1) if width == 1 else table


def _row(result: Any) -> list[float]:
    if result is None:
        return [NAN]
    if isinstance(result, Tensor) or hasattr(result, "tolist"):
        result = cast("Any", result).tolist()
    if isinstance(result, Real):
        return [float(result)]
    if isinstance(result, Sequence) and not isinstance(result, str):
        values = list(cast("Sequence[object]", result))
        if all(isinstance(v, Real) for v in values):
            return [float(cast(float, v)) for v in values]
    found = cast("object", result)
    raise TypeError(f"fitness must be a real number, or one per evaluation, got {found!r} of {type(found).__name__}")


def by_member(results: Mapping[Any, Any], population: int) -> list[Any]:
    """Put results that came in any order, some perhaps never, in the members' order."""
    placed: list[Any] = [None] * population
    for member, value in results.items():
        index = getattr(member, "member", member)
        if isinstance(index, bool) or not isinstance(index, int):
            raise TypeError(f"a fitness must be keyed by a member's index or MemberSpec, got {member!r}")
        if not 0 <= index < population:
            raise ValueError(f"member must be in [0, {population}), got {index}")
        placed[index] = value
    return placed
