"""Lookahead: every k steps, the weights fall back towards where they were.

    φ ← φ + α (θ - φ)   (1)  the slow weights follow the fast ones
    θ ← φ               (2)  the fast weights restart from there
    μ ← μ + α (m - μ),   m ← μ   (3)  the same for the momentum, if it is pulled back too

Zhang et al. 2019, Algorithm 1, https://arxiv.org/abs/1907.08610; (3) as in the authors' released code.
"""

# torch's operations on lists are private by name only.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from dataclasses import dataclass

import torch
from torch import Tensor

MOMENTA = ("keep", "reset", "pullback")


@dataclass(frozen=True, slots=True)
class Lookahead:
    """The hyper-parameters of Lookahead, in the paper's symbols."""

    k: int
    alpha: float
    momentum: str  # one of MOMENTA: m stays, becomes 0, or follows (3)


def pull_back(theta: Tensor, phi: Tensor, alpha: float) -> None:
    """Reference path: one tensor, one line per equation."""
    phi.lerp_(theta, alpha)  # (1), (3)
    theta.copy_(phi)  # (2), (3)


def pull_back_fast(thetas: list[Tensor], phis: list[Tensor], alpha: float) -> None:
    """Fast path: the same two operations, each on the whole list at once."""
    torch._foreach_lerp_(phis, thetas, alpha)  # (1), (3)
    torch._foreach_copy_(thetas, phis)  # (2), (3)


def pull_back_where(due: Tensor, theta: Tensor, phi: Tensor, alpha: float) -> None:
    """Inside a graph: ``due``, one boolean, decides on the device."""
    phi.copy_(torch.where(due, torch.lerp(phi, theta, alpha), phi))  # (1), (3)
    theta.copy_(torch.where(due, phi, theta))  # (2), (3)
