"""The ways to take one step: tensor by tensor, in pieces, on lists, and inside a graph.

All run the same equations; `rangerlite.py` chooses. A row is one parameter's tensors: θ, g, m, v, then φ where the
pull back is due and μ where the momentum is pulled back with it.
"""

# torch's operations on lists are private by name only.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .._lookahead import Lookahead, pull_back, pull_back_fast, pull_back_where
from .._radam import (
    Settings,
    correction,
    correction_on_device,
    rectified_adam,
    rectified_adam_fast,
)
from .chunks import Row, in_pieces

GRADIENT = 1  # its place in a row; only read


def one_by_one(rows: Sequence[Row], t: int, s: Settings, look: Lookahead) -> None:
    """Reference path: each tensor alone."""
    work = _one(t, s, look)
    for row in rows:
        work(*row)


def by_pieces(rows: Sequence[Row], t: int, s: Settings, look: Lookahead) -> None:
    """The reference path on pieces that stay in the cache: the default on the CPU."""
    in_pieces(rows, _one(t, s, look), GRADIENT)


def _one(t: int, s: Settings, look: Lookahead) -> Callable[..., None]:
    c = correction(t, s.beta1, s.beta2)

    def step(theta: Tensor, g: Tensor, m: Tensor, v: Tensor, *slow: Tensor) -> None:
        rectified_adam(theta, g, m, v, c, s)
        if slow:
            pull_back(theta, slow[0], look.alpha)
        if slow and look.momentum == "pullback":
            pull_back(m, slow[1], look.alpha)
        elif slow and look.momentum == "reset":
            m.zero_()

    return step


def on_lists(rows: Sequence[Row], t: int, s: Settings, look: Lookahead) -> None:
    """Fast path: each operation on all tensors at once."""
    theta, g, m, v, *slow = ([*column] for column in zip(*rows, strict=True))
    rectified_adam_fast(theta, g, m, v, correction(t, s.beta1, s.beta2), s)
    if slow:
        pull_back_fast(theta, slow[0], look.alpha)
    if slow and look.momentum == "pullback":
        pull_back_fast(m, slow[1], look.alpha)
    elif slow and look.momentum == "reset":
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
