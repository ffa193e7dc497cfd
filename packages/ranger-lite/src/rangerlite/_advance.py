"""Take a group's gathered tensors one step ahead, on the path that its settings and its tensors ask for."""

# torch's operations on lists are private by name only.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ._counts import Counts
from ._paths import Lookahead, by_pieces, in_graph, on_lists, one_by_one
from ._pieces import Row
from ._plain import plain
from ._radam import Settings

Path = Callable[[Sequence[Row], int, Settings, Lookahead], None]


@dataclass(slots=True)
class Gathered:
    """One group's parameters that have a gradient, and their state, in parallel lists."""

    params: list[Tensor] = field(default_factory=list[Tensor])
    grads: list[Tensor] = field(default_factory=list[Tensor])
    exp_avgs: list[Tensor] = field(default_factory=list[Tensor])
    exp_avg_sqs: list[Tensor] = field(default_factory=list[Tensor])
    steps: list[Tensor] = field(default_factory=list[Tensor])
    cached_params: list[Tensor] = field(default_factory=list[Tensor])
    cached_exp_avgs: list[Tensor] = field(default_factory=list[Tensor])

    def lists(self) -> tuple[list[Tensor], ...]:
        """Return the lists in the order in which ``_init_group`` fills them."""
        return (
            self.params,
            self.grads,
            self.exp_avgs,
            self.exp_avg_sqs,
            self.steps,
            self.cached_params,
            self.cached_exp_avgs,
        )


def advance(
    gathered: Gathered, s: Settings, look: Lookahead, group: dict[str, Any], counts: Counts, has_complex: bool
) -> None:
    """Take one step with everything in ``gathered``."""
    if not gathered.params:
        return
    rows = _rows(gathered, has_complex)
    if group["capturable"] or torch.compiler.is_compiling():
        torch._foreach_add_(gathered.steps, 1)
        for row, step in zip(rows, gathered.steps, strict=True):
            in_graph(row, step, s, look)
        return
    for t, alike in _alike(rows, counts.advance(gathered.params, gathered.steps)).items():
        due = t[0] % look.k == 0
        _path(group, alike[0][0])([row if due else row[:4] for row in alike], t[0], s, look)


def _rows(gathered: Gathered, has_complex: bool) -> list[Row]:
    columns = [gathered.params, gathered.grads, gathered.exp_avgs, gathered.exp_avg_sqs, gathered.cached_params]
    if gathered.cached_exp_avgs:
        columns.append(gathered.cached_exp_avgs)
    rows: list[Row] = list(zip(*columns, strict=True))
    rows = [plain(row) for row in rows]
    if has_complex:
        rows = [tuple(torch.view_as_real(x) if x.is_complex() else x for x in row) for row in rows]
    return rows


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
