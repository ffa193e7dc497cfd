"""RAdam: Adam whose step is rectified while its second moment rests on few gradients.

    θ ← (1 - η λ) θ                                         (4)  decoupled weight decay
    m ← β1 m + (1 - β1) g                                   (5)
    v ← β2 v + (1 - β2) g²                                  (6)
    ρ∞ = 2 / (1 - β2) - 1                                   (7)  longest average that v can reach
    ρ = ρ∞ - 2 t β2^t / (1 - β2^t)                          (8)  its length after t steps
    r = √((ρ - 4) (ρ - 2) ρ∞ / ((ρ∞ - 4) (ρ∞ - 2) ρ))       (9)  rectification
    m̂ = m / (1 - β1^t)                                      (10)
    if ρ > 5:  θ ← θ - η m̂ r √(1 - β2^t) / (√v + ε)         (11)
    else:      θ ← θ - η m̂                                  (12)

Liu et al. 2019, Algorithm 2, https://arxiv.org/abs/1908.03265; operations in the order of torch.optim.RAdam, so that
both agree to the bit.
"""

# torch's operations on lists are private by name only.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

HALF_MAX = 65504.0  # 1 / ε is beyond it: where v is 0 in float16, torch's RAdam computes ∞ · 0 = NaN


@dataclass(frozen=True, slots=True)
class RAdamConfig:
    """The hyper-parameters of RAdam, in the paper's symbols."""

    eta: float | Tensor
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float  # λ
    decoupled: bool = True  # False: λ θ is added to g instead of (4)
    maximize: bool = False


class Correction(NamedTuple):
    """The factors that depend on the step count alone: numbers, or 0-dim tensors inside a graph."""

    bias1: float | Tensor  # 1 - β1^t
    root2: float | Tensor  # √(1 - β2^t)
    r: float | Tensor
    rectified: bool | Tensor  # ρ > 5


def correction(t: int | Tensor, beta1: float, beta2: float) -> Correction:
    """Computes (7) to (9) after ``t`` ≥ 1 steps: in Python floats, or on the device, where ``t`` must not be read."""
    if isinstance(t, Tensor):
        t = t.to(torch.float32 if t.device.type == "mps" else torch.float64)
    bias1, bias2 = 1 - beta1**t, 1 - beta2**t
    rho_inf = 2 / (1 - beta2) - 1  # (7)
    rho = rho_inf - 2 * t * (beta2**t) / bias2  # (8)
    rectified = rho > 5
    if isinstance(rho, Tensor):
        rho = rho.clamp(min=5)  # what lies below is not used, and has no root
    elif not rectified:
        return Correction(bias1, bias2**0.5, 1.0, False)
    r = ((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)) ** 0.5  # (9)
    return Correction(bias1, bias2**0.5, r, rectified)


def rectified_adam(theta: Tensor, g: Tensor, m: Tensor, v: Tensor, c: Correction, s: RAdamConfig) -> None:
    """Steps one tensor: the reference path, one line per equation."""
    if s.maximize:
        g = -g
    if s.weight_decay != 0 and s.decoupled:
        theta.mul_(1 - s.eta * s.weight_decay)  # (4)
    elif s.weight_decay != 0:
        g = g.add(theta, alpha=s.weight_decay)
    m.lerp_(g, 1 - s.beta1)  # (5)
    v.mul_(s.beta2).addcmul_(g, g, value=1 - s.beta2)  # (6)
    move = (m / c.bias1).mul_(s.eta)  # (10)
    if isinstance(c.rectified, Tensor):
        move = move * torch.where(c.rectified, _adaptive(v, c, s) * c.r, 1.0)
    elif c.rectified:
        move = move.mul_(_adaptive(v, c, s)).mul_(c.r)
    theta.add_(move, alpha=-1.0)  # (11), (12)


def _adaptive(v: Tensor, c: Correction, s: RAdamConfig) -> Tensor:
    """Returns √(1 - β2^t) / (√v + ε), in one new tensor unless autograd needs the steps between."""
    if torch.is_grad_enabled():
        return c.root2 / (v.sqrt() + s.epsilon)
    inverse = v.sqrt().add_(s.epsilon).reciprocal_()
    if v.dtype == torch.float16:
        inverse.clamp_(max=HALF_MAX)
    return inverse.mul_(c.root2)


def rectified_adam_fast(
    theta: list[Tensor], g: list[Tensor], m: list[Tensor], v: list[Tensor], c: Correction, s: RAdamConfig
) -> None:
    """Steps lists: the same operations in the same order, each on all tensors at once."""
    factor = _factors(theta[0].dtype)
    grads: list[Tensor] | tuple[Tensor, ...] = torch._foreach_neg(g) if s.maximize else g
    if s.weight_decay != 0 and s.decoupled:
        torch._foreach_mul_(theta, factor(1 - s.eta * s.weight_decay))  # (4)
    elif s.weight_decay != 0:
        grads = torch._foreach_add(grads, theta, alpha=s.weight_decay)
    torch._foreach_lerp_(m, grads, 1 - s.beta1)  # (5)
    torch._foreach_mul_(v, factor(s.beta2))  # (6)
    torch._foreach_addcmul_(v, grads, grads, value=1 - s.beta2)  # (6)
    move = torch._foreach_div(m, c.bias1)  # (10)
    torch._foreach_mul_(move, factor(s.eta))
    if c.rectified:
        scale = torch._foreach_sqrt(v)
        torch._foreach_add_(scale, s.epsilon)
        torch._foreach_reciprocal_(scale)
        if theta[0].dtype == torch.float16:
            torch._foreach_clamp_max_(scale, HALF_MAX)
        torch._foreach_mul_(scale, factor(c.root2))
        torch._foreach_mul_(move, scale)
        torch._foreach_mul_(move, factor(c.r))
    torch._foreach_sub_(theta, move)  # (11), (12)


def _factors(dtype: torch.dtype) -> Callable[[float | Tensor], Tensor]:
    """Returns what makes a factor for ``_foreach_mul_``, which would round a bare number to bfloat16 first."""
    wide = torch.promote_types(dtype, torch.float32)
    return lambda number: number if isinstance(number, Tensor) else torch.tensor(number, dtype=wide)
