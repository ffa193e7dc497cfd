"""Lookahead: every k steps, the weights are pulled back towards slow weights.

    φ ← φ + α (θ - φ)   (1)  the slow weights follow the fast ones
    θ ← φ               (2)  the fast weights restart from there
    μ ← μ + α (m - μ),   m ← μ   (3)  the same for the momentum, if it is pulled back too

Zhang et al. 2019, Algorithm 1, https://arxiv.org/abs/1907.08610; (3) as in the authors' released code.
"""

# torch's operations on lists are private by name only.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ._batch import Batch

MOMENTA = ("keep", "reset", "pullback")


@dataclass(frozen=True, slots=True)
class LookaheadConfig:
    """The hyper-parameters of Lookahead, in the paper's symbols."""

    k: int
    alpha: float
    momentum: str  # one of MOMENTA: m stays, becomes 0, or follows (3)


def pull_back(batch: Batch, config: LookaheadConfig, due: Tensor | None = None) -> None:
    """Pulls every parameter of a batch back, and treats its first moment as ``config.momentum`` says.

    Args:
        batch: needs ``theta``, ``phi`` and ``m``, and ``mu`` where the momentum is pulled back.
        config: α and the treatment of the momentum.
        due: one boolean on the device that decides inside a graph; None where the pullback is known to be due.
    """
    _follow(batch.theta, batch.phi, config.alpha, due)
    if config.momentum == "pullback":
        _follow(batch.m, batch.mu, config.alpha, due)
    elif config.momentum == "reset":
        _reset(batch.m, due)


def _follow(fast: list[Tensor], slow: list[Tensor], alpha: float, due: Tensor | None) -> None:
    if due is None and not torch.is_grad_enabled():
        torch._foreach_lerp_(slow, fast, alpha)  # (1), (3)
        torch._foreach_copy_(fast, slow)  # (2), (3)
        return
    for theta, phi in zip(fast, slow, strict=True):
        followed = torch.lerp(phi, theta, alpha)
        phi.copy_(followed if due is None else torch.where(due, followed, phi))  # (1), (3)
        theta.copy_(phi if due is None else torch.where(due, phi, theta))  # (2), (3)


def _reset(ms: list[Tensor], due: Tensor | None) -> None:
    if due is None:
        torch._foreach_zero_(ms)
        return
    for m in ms:
        m.masked_fill_(due, 0.0)


@contextmanager
def swapped_in(params: list[Tensor], values: list[Tensor]) -> Generator[None]:
    """Copies ``values`` into ``params`` for the length of a block, and restores these to the bit at its end.

    Args:
        params: tensors whose contents are replaced; restored after an exception too.
        values: one tensor of the same shape for each; not changed.
    """
    with torch.no_grad():
        fast = [p.detach().clone(memory_format=torch.preserve_format) for p in params]
    try:
        _copy(values, params)
        yield
    finally:
        _copy(fast, params)


@torch.no_grad()
def _copy(values: list[Tensor], params: list[Tensor]) -> None:
    for value, param in zip(values, params, strict=True):
        param.copy_(value)
