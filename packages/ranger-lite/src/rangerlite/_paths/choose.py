"""Take a group's tensors one step ahead, on the path that its settings and its tensors ask for."""

# torch's operations on lists are private by name only.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._batch import Columns
from .._counts import Counts
from .._lookahead import Lookahead
from .._radam import Settings
from .chunks import Row
from .eager import by_pieces, in_graph, on_lists, one_by_one
from .fused_cpu import step_on_cpu

Path = Callable[[Sequence[Row], int, Settings, Lookahead], None]
STEP = 4  # the place of the step counts among the columns


class Scaling(NamedTuple):
    """What a GradScaler leaves to a fused step, as tensors of one element."""

    scale: Tensor | None  # the gradients were multiplied by it
    found: Tensor | None  # not 0 where some gradient is not finite


def advance(
    columns: Columns, params: list[Tensor], s: Settings, look: Lookahead, group: dict[str, Any], counts: Counts
) -> None:
    """Take one step without a fused kernel.

    Args:
        columns: θ, g, m, v, step, φ, and μ, empty where the momentum is not pulled back; real and local.
        params: the parameters whose views are in ``columns``.
        s: RAdam's settings.
        look: Lookahead's settings.
        group: the parameter group, for its choice of a path.
        counts: the step counts.
    """
    steps = columns[STEP]
    rows: list[Row] = list(zip(*(c for place, c in enumerate(columns) if place != STEP and c), strict=True))
    if group["capturable"] or torch.compiler.is_compiling():
        torch._foreach_add_(steps, 1)
        for row, step in zip(rows, steps, strict=True):
            in_graph(row, step, s, look)
        return
    for t, alike in _alike(rows, counts.advance(params, steps)).items():
        due = t[0] % look.k == 0
        _path(group, alike[0][0])(alike if due else [row[:4] for row in alike], t[0], s, look)


def advance_fused(columns: Columns, s: Settings, look: Lookahead, scaling: Scaling) -> list[int]:
    """Take one step in one kernel; return the places of what it could not take, nothing of which is touched."""
    on_gpu = [i for i, theta in enumerate(columns[0]) if theta.is_cuda]
    if not on_gpu:
        return step_on_cpu(columns, s, look, scaling.scale, scaling.found)
    from .fused_cuda import step_on_cuda  # needs Triton

    step_on_cuda(only(columns, on_gpu), s, look, scaling.scale, scaling.found)
    return [i for i, theta in enumerate(columns[0]) if not theta.is_cuda]


def only(columns: Columns, places: list[int], scale: Tensor | None = None) -> Columns:
    """Return the rows at ``places``, their gradients divided by ``scale``."""
    kept: list[list[Tensor]] = [[column[i] for i in places] if column else [] for column in columns]
    if scale is not None:
        kept[1] = [g / scale for g in kept[1]]
    return tuple(kept)


def _alike(rows: list[Row], counts: list[int]) -> dict[tuple[int, torch.dtype, torch.device], list[Row]]:
    """Sort rows by step count, dtype and device."""
    found: dict[tuple[int, torch.dtype, torch.device], list[Row]] = {}
    for row, t in zip(rows, counts, strict=True):
        found.setdefault((t, row[0].dtype, row[0].device), []).append(row)
    return found


def _path(group: dict[str, Any], theta: Tensor) -> Path:
    if group["differentiable"] or group["foreach"] is False:
        return one_by_one
    if group["foreach"] or theta.device.type != "cpu":
        return on_lists
    return by_pieces
