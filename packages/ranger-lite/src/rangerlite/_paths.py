"""The ways to take one step: tensor by tensor, in pieces, on lists, and inside a graph.

All run the same equations; `rangerlite.py` chooses. A row is one parameter's tensors: θ, g, m, v, then φ where the
pull back is due and μ where the momentum is pulled back with it.
"""

# torch's operations on lists are private by name only.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ._lookahead import pull_back, pull_back_fast, pull_back_where
from ._pieces import Row, in_pieces
from ._radam import (
    Correction,
    Settings,
    correction,
    correction_on_device,
    rectified_adam,
    rectified_adam_fast,
)

GRADIENT = 1  # its place in a row; only read


@dataclass(frozen=True, slots=True)
class Lookahead:
    """The hyper-parameters of Lookahead, in the paper's symbols."""

    k: int
    alpha: float
    momentum: str  # "keep", "reset" or "pullback"

    def row(self, due: bool, four: Row, phi: Tensor, mu: Tensor | None) -> Row:
        """Add to θ, g, m, v what this step needs of φ and μ."""
        if not due:
            return four
        return (*four, phi) if mu is None else (*four, phi, mu)


def one_by_one(rows: Sequence[Row], t: int, s: Settings, look: Lookahead) -> None:
    """Reference path: each tensor alone."""
    work = _work(t, s, look)
    for row in rows:
        work(*row)


def by_pieces(rows: Sequence[Row], t: int, s: Settings, look: Lookahead) -> None:
    """The reference path, on pieces that stay in the cache: the default on the CPU."""
    in_pieces(rows, _work(t, s, look), GRADIENT)


def on_lists(rows: Sequence[Row], t: int, s: Settings, look: Lookahead) -> None:
    """Fast path for accelerators: each operation on all tensors at once."""
    theta, g, m, v, *rest = ([*column] for column in zip(*rows, strict=True))
    rectified_adam_fast(theta, g, m, v, correction(t, s.beta1, s.beta2), s)
    if not rest:
        return
    pull_back_fast(theta, rest[0], look.alpha)
    if look.momentum == "pullback":
        pull_back_fast(m, rest[1], look.alpha)
    elif look.momentum == "reset":
        torch._foreach_zero_(m)


def in_graph(row: Row, step: Tensor, s: Settings, look: Lookahead) -> None:
    """Capturable path: ``step`` stays on the device, and so do the decisions; ``row`` holds φ (and μ) always."""
    theta, g, m, v, phi, *mu = row
    rectified_adam(theta, g, m, v, correction_on_device(step, s.beta1, s.beta2), s)
    due = torch.remainder(step, look.k) == 0
    pull_back_where(due, theta, phi, look.alpha)
    if mu:
        pull_back_where(due, m, mu[0], look.alpha)
    elif look.momentum == "reset":
        m.mul_(torch.where(due, 0.0, 1.0))


class _Step:
    """One step of one row, with the step count's corrections computed beforehand."""

    def __init__(self, c: Correction, s: Settings, look: Lookahead) -> None:
        self.c, self.s, self.look = c, s, look

    def __call__(
        self, theta: Tensor, g: Tensor, m: Tensor, v: Tensor, phi: Tensor | None = None, mu: Tensor | None = None
    ) -> None:
        rectified_adam(theta, g, m, v, self.c, self.s)
        if phi is None:
            return
        pull_back(theta, phi, self.look.alpha)
        if mu is not None:
            pull_back(m, mu, self.look.alpha)
        elif self.look.momentum == "reset":
            m.zero_()


def _work(t: int, s: Settings, look: Lookahead) -> _Step:
    return _Step(correction(t, s.beta1, s.beta2), s, look)
