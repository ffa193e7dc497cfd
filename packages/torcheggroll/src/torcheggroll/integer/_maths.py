"""Integer arithmetic of networks that are trained and run without a float weight.

    member's weights  2ˢW ± A Bᵀ,  W int8,  A (m×r), B (n×r) of small integers        (1)
    a = 2ˢ(x Wᵀ + 2ᵏ⁺ᵍ b) ± ((x B) Aᵀ + 2ᵏ⁺ᵍ e)                                        (2)  int32; g: shift of the bias
    y = clip((a + 2ᵏ⁺ˢ⁻¹) ≫ (k + s), ±limit)                                          (3)  k: shift of the layer
    z = clip(64 + a_z, 0, 128)                                                        (4)  a sigmoid in 128ths
    hₜ = hₜ₋₁ + ((z (h̃ - hₜ₋₁) + 64) ≫ 7)                                              (5)  minGRU
    e(l) = (16 + l mod 16)·2^⌊l/16⌋                                                    (6)  2 to the l/16, in pieces
    L(S) = 4096 p + T[⌊4096 S/2ᵖ⌋ - 4096],  p = ⌊log₂ S⌋                               (7)  T[i] ≈ 4096 log₂(1 + i/4096)
    loss = L(Σⱼ e(lⱼ)) - L(e(l of the target))                                        (8)  in 4,096ths of a bit

Every operation is exact, on integers, and so equal to the bit on every device. Products run on the int8 matrix unit, or
in float32 where their sums stay below 2²⁴: float carries integers there and is never a weight or an activation.

Source: Sarkar et al. 2025 (EGGROLL), appendix H, https://arxiv.org/abs/2511.16652; Feng et al. 2024 (minGRU),
https://arxiv.org/abs/2410.01201
"""

from collections.abc import Callable
from functools import lru_cache
from math import log2
from typing import cast

import torch
from torch import Tensor

from ._factors import LARGEST, Drawn

TOP = 95  # of a logit in 16ths of a bit: the sum (6) of 256 symbols then stays below 2²⁴
_int8_product = cast(Callable[[Tensor, Tensor], Tensor], torch._int_mm)  # pyright: ignore
_LOSS_BITS = 12
_INDEX_BITS = 12


def product(x: Tensor, w: Tensor) -> Tensor:
    """Multiplies ``(R, n)`` by the transpose of ``(m, n)``, both int8, into int32, exactly."""
    if len(x) > 16 and x.shape[1] % 8 == 0 and len(w) % 8 == 0 and _has_exact_unit(x.device):
        return _int8_product(x, w.t())
    return carried(x, w)


def carried(x: Tensor, w: Tensor) -> Tensor:
    """Does the same with float as the carrier of integers."""
    dtype = torch.float32 if x.shape[1] << 14 < 1 << 24 else torch.float64
    return (x.to(dtype) @ w.to(dtype).t()).to(torch.int32)


@lru_cache(maxsize=8)
def _has_exact_unit(device: torch.device) -> bool:
    """Tries extreme values: processors without an int8 dot product saturate on the way."""
    x = torch.tensor([127, -127], dtype=torch.int8).repeat_interleave(32).repeat(32, 1)
    w = x.roll(16, 1)[:16].clone()
    w[::2] = x[0]
    try:
        return torch.equal(_int8_product(x.to(device), w.to(device).t()).cpu(), carried(x, w))
    except RuntimeError:
        return False


def accumulated(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    noise: Drawn | None,
    bias_noise: Drawn | None,
    sigma_shift: int,
    shift: int,
    bias_shift: int,
) -> Tensor:
    """Sums the products of a linear layer, without forming any member's weights, and what rounds them to the nearest.

    Args:
        x: ``(..., n)`` int8; with noise ``(M, ..., n)``.
        weight: ``(m, n)`` int8.
        bias: ``(m,)`` int8, or None.
        noise: of the weight, signed, with M members in front.
        bias_noise: of the bias, likewise.
        sigma_shift: s.
        shift: k.
        bias_shift: g.

    Returns:
        ``(..., m)`` int32, with 2ᵏ⁺ˢ⁻¹ added.
    """
    unit, half = shift + bias_shift, 1 << (shift + sigma_shift) >> 1
    a = product(x.flatten(0, -2), weight).view(*x.shape[:-1], -1)  # (2)
    if sigma_shift:
        a <<= sigma_shift  # (2)
    if noise is not None and noise.right is not None:
        lead = (len(x), *[1] * (x.dim() - 2))
        rows = x.flatten(1, -2).float()
        for left, right in zip(noise.left.unbind(1), noise.right.unbind(1), strict=True):
            xB = (rows @ right.float().unsqueeze(-1)).to(torch.int32).view(*x.shape[:-1], 1)
            a.addcmul_(xB, left.to(torch.int32).view(*lead, -1))  # (2)
    if bias is None:
        return a.add_(half)  # (3)
    own = bias.to(torch.int32) << sigma_shift
    if bias_noise is not None:
        own = (own + bias_noise.left).view(len(x), *[1] * (x.dim() - 2), -1)
    return a.add_((own << unit) + half)  # (2) (3)


def check_bound(inputs: int, rank: int, sigma_shift: int, unit: int) -> None:
    """Refuses a layer whose sums might leave int32.

    Raises:
        ValueError: they might.
    """
    products = (inputs * 127**2 << sigma_shift) + rank * inputs * 127 * max(LARGEST.values()) ** 2
    bound = products + ((128 << sigma_shift) + max(LARGEST.values()) << unit)
    if bound >= 1 << 31:
        raise ValueError(
            f"a layer's sums must stay below 2**31, {inputs} inputs, sigma_shift {sigma_shift} and a bias in units of "
            f"2**{unit} may reach {bound}; use a smaller sigma_shift, shift or bias_shift"
        )


def looked_up(index: Tensor, weight: Tensor, noise: Drawn | None, sigma_shift: int) -> Tensor:
    """Takes rows of a table, times two to the ``sigma_shift``, with each member's noise and what rounds them."""
    rows = weight.index_select(0, index.flatten()).view(*index.shape, -1).to(torch.int32) << sigma_shift
    rows += 1 << sigma_shift >> 1  # (3)
    if noise is None or noise.right is None:
        return rows
    lead = (len(index), *[1] * (index.dim() - 1))
    for left, right in zip(noise.left.unbind(1), noise.right.unbind(1), strict=True):
        own = left.to(torch.int32).gather(1, index.flatten(1)).view(*index.shape, 1)
        rows.addcmul_(own, right.to(torch.int32).view(*lead, -1))  # (1)
    return rows


def shifted(a: Tensor, shift: int, limit: int) -> Tensor:
    """Divides by two to the ``shift``, rounding down, and clips; ``a`` is overwritten.

    Returns:
        int8 for a limit up to 127, else int16.
    """
    a >>= shift  # (3)
    return a.clamp_(-limit, limit).to(torch.int8 if limit <= 127 else torch.int16)  # (3)


def gate(a: Tensor) -> Tensor:
    """Turns a pre-activation into the share of the new, in 128ths, as int16."""
    return a.to(torch.int16).add_(64).clamp_(0, 128)  # (4)


def min_gru(z: Tensor, candidate: Tensor, h: Tensor) -> Tensor:
    """Mixes candidates into the state, one step after the other.

    Args:
        z: ``(..., T, n)`` int16, from 0 to 128.
        candidate: ``(..., T, n)`` int8.
        h: ``(..., n)`` int16, the state before, within ±127.

    Returns:
        ``(..., T, n)`` int16: the state after each step, within ±127.
    """
    out = torch.empty_like(z)
    new = candidate.to(torch.int16)
    for t in range(z.shape[-2]):
        change = new[..., t, :] - h
        change *= z[..., t, :]
        change += 64
        change >>= 7
        h = torch.add(h, change, out=out[..., t, :])  # (5)
    return out


def power(logits: Tensor) -> Tensor:
    """Returns e(l)/16 as float32, which holds it exactly: l is the exponent and the mantissa's first bits."""
    bits = logits.clamp(-TOP, TOP).to(torch.int32)
    bits += 16 * 127
    bits <<= 19
    return bits.view(torch.float32)  # (6)


@lru_cache(maxsize=8)
def _table(device: torch.device) -> Tensor:
    steps = 1 << _INDEX_BITS
    values = [round(log2(1 + i / steps) * (1 << _LOSS_BITS)) for i in range(steps)]
    return torch.tensor(values, dtype=torch.int32).to(device)


def logarithm(s: Tensor) -> Tensor:
    """Returns L of positive float32 numbers, read from the exponent and the mantissa's first bits, as int32."""
    bits = s.view(torch.int32)
    p = (bits >> 23) - 127
    first = (bits >> (23 - _INDEX_BITS)) & ((1 << _INDEX_BITS) - 1)
    return (p << _LOSS_BITS) + _table(s.device)[first]  # (7)


def code_length(logits: Tensor, targets: Tensor) -> Tensor:
    """Returns the code length of each target under the logits, in integer arithmetic.

    Args:
        logits: ``(..., symbols)`` int8 in 16ths of a bit, clipped to ±95; at most 256 symbols.
        targets: ``(...)`` int64.

    Returns:
        ``(...)`` int32, in 4,096ths of a bit.

    Raises:
        ValueError: there are more than 256 symbols.

    Example:
        >>> import torch
        >>> from torcheggroll.integer import code_length
        >>> code_length(torch.zeros(4, dtype=torch.int8), torch.tensor(0)) / 4096  # one of four: two bits
        tensor(2.)
    """
    if logits.shape[-1] > 256:
        raise ValueError(f"logits must be of at most 256 symbols, got {logits.shape[-1]}; their sum would be rounded")
    e = power(logits)
    own = e.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return logarithm(e.sum(-1)) - logarithm(own)  # (8)
