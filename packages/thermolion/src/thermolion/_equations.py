"""ThermoLion: a sign step where the gradient is noisy, an adaptive step where it is clear, and noise that cools.

Per tensor, from m = v = 0 and T = 1, with gradient g:

    T ← τ T                                       (1)  temperature
    m ← β1 m + (1 - β1) g                         (2)
    v ← β2 v + (1 - β2) g²                        (3)
    a = m / (√v + ε)                              (4)  variance-normalised step; no bias correction
    q = tanh(|a|)                                 (5)  signal-to-noise gate
    s = sign(m) (1 + ½ [sign(m) sign(g)]₀¹)       (6)  Lion-style step; the bracket is clamped to [0, 1]
    u = (1 - q) s + 2 q a                         (7)
    if T > 0.01:  u ← u + (1 - q) σ ξ             (8)  σ = √(max(T · v̄, 0) + 1e-10),  ξ ~ N(0, I)
    θ ← (1 - η λ) θ - η u                         (9)  decoupled weight decay first

v̄ is the mean of v over the tensor, carried as v̄ ← β2 v̄ + (1 - β2) mean(g²), where an element whose square is not
finite counts as zero, so that it affects no other element.

Ahmed Nebli, ThermoLion 0.1.0, https://github.com/ahmednebli/ThermoLion
"""

# torch's operations on lists are private by name only.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_MINUS = torch.tensor(-1.0)
_FLOOR = torch.tensor(1e-10)  # below σ²
_ALWAYS = torch.tensor(math.inf)  # steps that Adam has taken
COLD = 0.01  # at this temperature and below there is no noise


class Coefficients(NamedTuple):
    """What the equations take besides tensors."""

    lr: float | Tensor  # η
    beta1: float
    beta2: float
    weight_decay: float  # λ
    eps: float  # ε


def cool(temperature: float, decay: float) -> float:
    """Returns the temperature of the next step; the running product rounds as 0.1.0 rounded it."""
    return decay * temperature  # (1)


def sum_of_squares(g: Tensor, block: int) -> Tensor:
    """Returns Σ g², in float32 or wider, without the elements whose square is not finite.

    Args:
        g: the gradient.
        block: elements to be squared at once, if the memory is contiguous.
    """
    dtype = torch.promote_types(g.dtype, torch.float32)
    if g.numel() <= block or not g.is_contiguous():
        g = g.to(dtype)
        return torch.nan_to_num_(g * g, nan=0.0, posinf=0.0).sum()
    sums: list[Tensor] = []
    square = torch.empty(block, dtype=dtype, device=g.device)
    for part in torch.split(g.view(-1), block):
        part = part.to(dtype)
        square = torch.mul(part, part, out=square[: len(part)])
        sums.append(torch.nan_to_num_(square, nan=0.0, posinf=0.0).sum())
    return torch.stack(sums).sum()


def carry_noise_scale(
    v_means: list[Tensor],
    mean_squares: Tensor,
    temperatures: Tensor,
    beta2: float,
    *,
    rounded_once: bool = False,
) -> Tensor:
    """Carries v̄ of every tensor to this step and returns σ of each.

    Args:
        v_means: v̄ of n tensors, each of shape ``()``, updated in place; up to rounding ``v.mean()``.
        mean_squares: the mean of g² over each tensor, ``(n,)``.
        temperatures: T of each, ``(n,)``.
        beta2: β2.
        rounded_once: the product and the sum under the root of (8) are rounded together, as 0.2.0 did in blocks.

    Returns:
        σ, ``(n,)``.
    """
    carried = torch.stack(v_means).mul_(beta2).add_(mean_squares, alpha=1 - beta2)  # (3)
    torch._foreach_copy_(v_means, carried.unbind())
    if rounded_once:
        return torch.addcmul(_FLOOR, carried, temperatures).sqrt_()  # (8)
    return (temperatures * carried).clamp_(min=0).add_(1e-10).sqrt_()  # (8)


def update(theta: Tensor, g: Tensor, m: Tensor, v: Tensor, noise: Tensor | None, c: Coefficients) -> None:
    """Reference path: one tensor at a time, one line per equation.

    Args:
        theta: θ, updated in place; all tensors are real, of its shape and dtype.
        g: the gradient, left as it is.
        m: first moment, updated in place.
        v: second moment, updated in place.
        noise: σ ξ, or None where the temperature is cold.
        c: the coefficients.
    """
    m.mul_(c.beta1).add_(g, alpha=1 - c.beta1)  # (2)
    v.mul_(c.beta2).addcmul_(g, g, value=1 - c.beta2)  # (3)
    a = m / v.sqrt().add_(c.eps)  # (4)
    q = a.abs().tanh_()  # (5)
    sign = m.sign()
    s = sign * (1 + 0.5 * (sign * g.sign()).clamp_(0, 1))  # (6)
    u = (1 - q) * s + 2 * q * a  # (7)
    if noise is not None:
        u += (1 - q) * noise  # (8)
    theta.mul_(1 - c.lr * c.weight_decay)  # (9)
    if isinstance(c.lr, Tensor):
        theta.sub_(c.lr * u)  # (9)
    else:
        theta.add_(u, alpha=-c.lr)  # (9)


def update_lists(
    thetas: list[Tensor],
    grads: list[Tensor],
    ms: list[Tensor],
    vs: list[Tensor],
    noises: list[Tensor] | None,
    c: Coefficients,
) -> None:
    """Fast path: the same operations in the same order, each on the whole list at once."""
    torch._foreach_mul_(ms, c.beta1)  # (2)
    torch._foreach_add_(ms, grads, alpha=1 - c.beta1)  # (2)
    torch._foreach_mul_(vs, c.beta2)  # (3)
    torch._foreach_addcmul_(vs, grads, grads, value=1 - c.beta2)  # (3)
    denominators = torch._foreach_sqrt(vs)
    torch._foreach_add_(denominators, c.eps)
    a = torch._foreach_div(ms, denominators)  # (4)
    q = torch._foreach_abs(a)
    torch._foreach_tanh_(q)  # (5)
    signs = torch._foreach_sign(ms)
    s = torch._foreach_sign(grads)
    torch._foreach_mul_(s, signs)
    torch._foreach_clamp_min_(s, 0)
    torch._foreach_mul_(s, 0.5)
    torch._foreach_add_(s, 1)
    torch._foreach_mul_(s, signs)  # (6)
    u = torch._foreach_mul(q, 2)
    torch._foreach_mul_(u, a)
    torch._foreach_neg_(q)
    torch._foreach_add_(q, 1)  # 1 - q
    torch._foreach_mul_(s, q)
    torch._foreach_add_(u, s)  # (7)
    if noises is not None:
        torch._foreach_mul_(q, noises)
        torch._foreach_add_(u, q)  # (8)
    if isinstance(c.lr, Tensor):
        torch._foreach_mul_(thetas, 1 - c.lr * c.weight_decay)  # (9)
        torch._foreach_mul_(u, c.lr)
        torch._foreach_sub_(thetas, u)  # (9)
    else:
        torch._foreach_mul_(thetas, 1 - c.lr * c.weight_decay)  # (9)
        torch._foreach_add_(thetas, u, alpha=-c.lr)  # (9)


def update_block(
    theta: Tensor,
    g: Tensor,
    m: Tensor,
    v: Tensor,
    noise: tuple[Tensor, Tensor] | None,
    c: Coefficients,
    sign: int,
    spare: Sequence[Tensor],
) -> None:
    """Path of blocks: the same step, equal up to rounding, in few passes and without new memory.

    (2), (3) and twice (4) are an Adam step of rate -2 from zero, after so many steps that nothing is left of its bias
    corrections. With t = σ(-2|a|), the logistic function, q = 1 - 2t, and (7) and (8) become
    u = 2 (a + t (s + noise - 2a)). (9) is a step of gradient descent along u/2, of rate 2η under weight decay λ/2.

    Args:
        theta: θ, updated in place; all tensors are contiguous, of its shape and dtype, on the CPU.
        g: the gradient.
        m: first moment, updated in place.
        v: second moment, updated in place.
        noise: ξ and σ, of one element or θ's shape; or None where the temperature is cold.
        c: the coefficients.
        sign: -1 to maximize, else 1.
        spare: four tensors to overwrite.
    """
    a, t, s, agree = spare  # a is twice that of (4)
    adam_direction([a.zero_()], [g], [m], [v], c, sign)  # (2), (3), (4)
    torch.copysign(a, _MINUS, out=t).sigmoid_()  # (5)
    torch.sign(m, out=s)
    torch.sign(g, out=agree).mul_(s)
    agree = agree.clamp_min_(0) if sign > 0 else agree.clamp_max_(0)
    s.addcmul_(s, agree, value=0.5 * sign)  # (6)
    if noise is not None:
        s.addcmul_(*noise)  # (8)
    s.sub_(a).mul_(t).add_(a, alpha=0.5)  # (7)
    descend([theta], [s], c)  # (9)


def put_back(tensors: Sequence[Tensor], before: Sequence[Tensor], where: Tensor) -> None:
    """Undoes a step of the elements ``where`` is true, of the shape of every tensor."""
    for tensor, old in zip(tensors, before, strict=True):
        tensor.copy_(torch.where(where, old, tensor))


def adam_direction(
    a: list[Tensor], grads: list[Tensor], ms: list[Tensor], vs: list[Tensor], c: Coefficients, sign: int
) -> None:
    """Adds twice (4) to ``a`` and updates the moments by torch's fused kernel; ``sign`` as in `update_block`."""
    steps = [_ALWAYS] * len(a)
    torch._fused_adam_(
        a, grads, ms, vs, [], steps, lr=-2.0, beta1=c.beta1, beta2=c.beta2, weight_decay=0.0, eps=c.eps,
        amsgrad=False, maximize=sign < 0,
    )  # fmt: skip  # (2), (3), (4)


def descend(thetas: list[Tensor], halves: list[Tensor], c: Coefficients) -> None:
    """Computes (9) of u = 2 ``halves``, which may be overwritten."""
    if isinstance(c.lr, Tensor):
        torch._foreach_mul_(thetas, 1 - c.lr * c.weight_decay)  # (9)
        torch._foreach_mul_(halves, 2 * c.lr)
        torch._foreach_sub_(thetas, halves)  # (9)
        return
    torch._fused_sgd_(
        thetas, halves, [], weight_decay=c.weight_decay / 2, momentum=0.0, lr=2 * c.lr, dampening=0.0,
        nesterov=False, maximize=False, is_first_step=True,
    )  # fmt: skip  # (9)
