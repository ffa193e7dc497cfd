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

import ctypes
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

FLOOR = 1e-10  # below σ²
_FLOOR = torch.tensor(FLOOR)
COLD = 0.01  # at this temperature and below there is no noise


class Coefficients(NamedTuple):
    """The numbers in the equations."""

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


def sums_of_squares(grads: Sequence[Tensor], block: int) -> Tensor:
    """Returns `sum_of_squares` of each of n tensors on the CPU, ``(n,)``, up to rounding and in one pass over them.

    Args:
        grads: contiguous, float32.
        block: elements to be squared at once.
    """
    parts = [torch.split(g.view(-1), block) for g in grads]
    flat = [part for cut in parts for part in cut]
    norms = torch.stack(torch._foreach_norm(flat))
    if not math.isfinite(read_number(norms.sum())):
        norms = torch.cat([torch.stack(torch._foreach_norm([_with_finite_squares(part)])) for part in flat])
    if len(flat) == len(parts):
        return norms.square_()
    owners = torch.repeat_interleave(torch.tensor([len(cut) for cut in parts]))
    return torch.zeros(len(parts)).index_add_(0, owners, norms.square_())


def _with_finite_squares(g: Tensor) -> Tensor:
    return torch.where(torch.isfinite(g * g), g, 0.0)


def read_number(scalar: Tensor) -> float:
    """Returns a real tensor of one element in the host's memory as a number, read there without an operation."""
    scalar = scalar.detach().to(torch.float64)
    return ctypes.c_double.from_address(scalar.data_ptr()).value


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
    return (temperatures * carried).clamp_(min=0).add_(FLOOR).sqrt_()  # (8)


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


def move_moments(
    row: list[Tensor], grads: list[Tensor], ms: list[Tensor], vs: list[Tensor], c: Coefficients, sign: int
) -> None:
    """Fast paths: updates the moments and adds 4/3 of (4) to ``row``, on all tensors at once.

    This is an Adam step of rate -4/3, after so many steps that nothing is left of its bias corrections.

    Args:
        row: zeros; all lists hold real tensors of one dtype and run in parallel.
        grads: the gradients.
        ms: first moments, updated in place.
        vs: second moments, updated in place.
        c: the coefficients.
        sign: -1 to maximize, else 1.
    """
    steps = [always_on(ms[0].device)] * len(ms)
    torch._fused_adam_(
        row, grads, ms, vs, [], steps, lr=-4 / 3, beta1=c.beta1, beta2=c.beta2, weight_decay=0.0, eps=c.eps,
        amsgrad=False, maximize=sign < 0,
    )  # fmt: skip  # (2), (3), (4)


@lru_cache(maxsize=16)
def always_on(device: torch.device) -> Tensor:
    """Returns infinity on the device: so many steps has Adam taken."""
    with torch.inference_mode(False):
        return torch.full((), math.inf, device=device)


def move_parameters(
    thetas: list[Tensor],
    parts: tuple[list[Tensor], list[Tensor]],
    row: tuple[Tensor, Tensor, Tensor],
    noise: tuple[Tensor, Tensor] | None,
    c: Coefficients,
    sign: int,
    spare: Tensor,
) -> None:
    """Fast paths: computes (5) to (9), equal to `update` up to rounding, in few passes and without new memory.

    With w = 1 / (1 + exp(-2|a|)), so that q = 2w - 1, and h = s + σ ξ, (7) and (8) become u = 2 (h + w (2a - h)) - 2a:
    a line from h to 2a. Everything is computed in units of 1.5. (9) is a step of gradient descent with momentum, whose
    buffer holds 2a, of which it takes away a half.

    Args:
        thetas: the parameters, updated in place.
        parts: views of the first two of ``row``, each in parallel with ``thetas``.
        row: for all parameters in a row: 4/3 of a; the sign of m, overwritten; its product with g, overwritten.
        noise: two factors whose product is σ ξ / 1.5, in a shape that the row can be viewed in; or None where the
            temperature is cold.
        c: the coefficients.
        sign: -1 to maximize, else 1.
        spare: a row to overwrite.
    """
    a, s, agree = row
    twice, halves = parts
    w = torch.addcmul(zero_on(a.device, a.dtype), s, a, value=1.5, out=spare).sigmoid_()  # (5): s a = |a|
    if sign < 0:
        agree.neg_()
    torch.ops.aten.leaky_relu_backward.grad_input(s, agree, 2 / 3, False, grad_input=s)  # (6): 1 or 2/3 of the sign
    if noise is not None:
        s.view(noise[0].shape).addcmul_(*noise)  # (8)
    s.lerp_(a, w)  # (7): u / 2 + a
    if isinstance(c.lr, Tensor):
        torch.sub(s.mul_(3), a, alpha=1.5, out=s).mul_(c.lr)  # η u
        torch._foreach_mul_(thetas, 1 - c.lr * c.weight_decay)  # (9)
        torch._foreach_sub_(thetas, halves)  # (9)
        return
    torch._fused_sgd_(
        thetas, halves, twice, weight_decay=c.weight_decay / 3, momentum=-0.5, lr=3 * c.lr, dampening=0.0,
        nesterov=False, maximize=False, is_first_step=False,
    )  # fmt: skip  # (9)


@lru_cache(maxsize=16)
def zero_on(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Returns zero on the device, without dimensions."""
    with torch.inference_mode(False):
        return torch.zeros((), dtype=dtype, device=device)


def put_back(tensors: Sequence[Tensor], before: Sequence[Tensor], where: Tensor) -> None:
    """Undoes a step of the elements ``where`` is true, of the shape of every tensor."""
    for tensor, old in zip(tensors, before, strict=True):
        tensor.copy_(torch.where(where, old, tensor))
