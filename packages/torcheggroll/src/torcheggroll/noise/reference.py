"""The noise of a chunk of pairs in torch ops: the reference, and the path of devices without a kernel."""

from functools import lru_cache

import torch
from torch import Tensor

from .counter import keys, steps, words
from .distributions import DISTRIBUTIONS, quantiles, signs
from .layout import Layout

_BLOCK = 1 << 15  # words at a time: they and their copies stay in a core's cache
_LARGE_BLOCK = 1 << 22  # elsewhere a block is so many ops, whatever its size


def constants(row: Layout, distribution: str, device: torch.device) -> list[Tensor]:
    """Returns the tables that ``fill`` reads."""
    return [*_words(row, DISTRIBUTIONS[distribution].per_word, device), quantiles(device), signs(device)]


def fill(
    out: Tensor,
    row: Layout,
    starts: Tensor,
    pairs: Tensor,
    scales: Tensor,
    weights: Tensor | None,
    mirrored: bool,
    distribution: str,
) -> None:
    """Draws the numbers of every parameter and pair; the arguments are those of `perturbation.fill`."""
    per_word, read = DISTRIBUTIONS[distribution]
    device, wide = out.device, torch.float64 if out.dtype == torch.float64 else torch.float32
    step, owner, scaled = _words(row, per_word, device)
    key = keys(starts, pairs)
    scale = scales.to(wide)
    each = scale[owner] if weights is None else scale[owner] * weights.to(wide).unsqueeze(1)
    block = _BLOCK if device.type == "cpu" else _LARGE_BLOCK
    across = max(min(len(step), block), 1)
    high = max(block // across, 1)
    for top in range(0, len(pairs), high):
        for left in range(0, len(step), across):
            own = owner[left : left + across]
            z = read(words(key[top : top + high].index_select(1, own), step[left : left + across])).to(wide)
            columns = slice(left * per_word, left * per_word + z.shape[1])
            factor = each[..., left : left + across]
            if weights is not None:
                factor = factor[top : top + high]
            factor = factor.repeat_interleave(per_word, -1)
            one = torch.ones((), dtype=wide, device=device)
            plus = z * torch.where(scaled[columns], factor, one)
            rows = slice(2 * top, 2 * (top + len(z)), 2) if mirrored else slice(top, top + len(z))
            out[rows, columns] = plus.to(out.dtype)
            if mirrored:
                minus = z * torch.where(scaled[columns], -factor, one)
                out[2 * top + 1 : 2 * (top + len(z)) : 2, columns] = minus.to(out.dtype)


@lru_cache(maxsize=16)
def _words(row: Layout, per_word: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the step and the parameter of each word of a row, and whether each number is scaled."""
    step = torch.zeros(row.width // per_word, dtype=torch.int64)
    owner = torch.zeros(row.width // per_word, dtype=torch.int64)
    scaled = torch.zeros(row.width, dtype=torch.bool)
    for part in row.parts:
        first, count = part.first // per_word, -(-(part.first % per_word + part.length) // per_word)
        at = (part.column - part.first % per_word) // per_word
        step[at : at + count] = steps(first, count, torch.device("cpu"))
        owner[at : at + count] = part.parameter
        scaled[part.column : part.column + part.length] = part.scaled
    return step.to(device), owner.to(device), scaled.to(device)
