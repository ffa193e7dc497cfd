"""The random part of a step: σ and ξ of every tensor, and the bits of stochastic rounding."""

from functools import cached_property, lru_cache

import torch
from torch import Tensor

from thermolion._batch import Batch
from thermolion._equations import follow_mean, noise_scale, sum_of_squares
from thermolion._noise import MASK, draw, draw_at, keys_of, mix, rounding_at, rounding_bits
from thermolion._sharding import add_shards

BLOCK = 1 << 18  # elements of a gradient that are squared at once
ROUNDING = 0x6A09E667F3BCC909  # sets the bits of rounding apart from those of noise


def keys_for(work: Batch, seed: int) -> Tensor:
    """Return the four keys of every tensor of ``work`` at its step, int32 of shape ``(n, 4)``."""
    if work.capturable:
        steps = torch.stack(work.steps).to(torch.int64)
        return keys_of(seed, steps, _indices_on(work.device, tuple(work.indices)))
    return keys_of(seed, torch.tensor(work.steps), torch.tensor(work.indices)).to(work.device, non_blocking=True)


@lru_cache(maxsize=16)
def _indices_on(device: torch.device, indices: tuple[int, ...]) -> Tensor:
    """Return the parameters' numbers on the device; kept, for a CUDA graph may not send anything."""
    return torch.tensor(indices, device=device)


class Draws:
    """What ``work`` draws at this step; to make one carries v̄ on."""

    def __init__(self, work: Batch) -> None:
        self.work = work
        self.sigmas: list[Tensor] = self._carry() if work.warm else []

    def _carry(self) -> list[Tensor]:
        work = self.work
        sums = add_shards([_sum_in_blocks(g) for g in work.grads], work.params)
        for v_mean, total, numel in zip(work.v_means, sums, work.numels(), strict=True):
            follow_mean(v_mean, total / numel, work.coefficients.beta2)
        return [noise_scale(v_mean, T) for v_mean, T in zip(work.v_means, work.temperatures, strict=True)]

    @cached_property
    def keys(self) -> Tensor:
        """The keys of noise, ``(n, 4)``."""
        return keys_for(self.work, self.work.group["seed"])

    @cached_property
    def rounding_keys(self) -> Tensor:
        """The keys of stochastic rounding, ``(n, 4)``."""
        return keys_for(self.work, mix(self.work.group["seed"] ^ ROUNDING) & MASK)

    def scaled(self, place: int, theta: Tensor, start: int = 0) -> Tensor | None:
        """Return σ ξ for tensor number ``place``, or None where it is cold.

        Args:
            place: of the tensor in the work's lists.
            theta: the tensor or a block of it, in the dtype to compute in.
            start: the logical number of the block's first element.
        """
        return self.noise(place, theta, start) if self.work.warm else None

    def noise(self, place: int, theta: Tensor, start: int = 0) -> Tensor:
        """Return σ ξ for tensor number ``place``, which is warm; arguments as in `scaled`."""
        work = self.work
        if work.group["noise"] == "global":
            xi = torch.randn_like(work.thetas[place]).to(theta.dtype)
        else:
            keys, numbers = self.keys[place].unbind(), work.numbers(place)
            xi = draw(start, theta.numel(), keys) if numbers is None else draw_at(numbers, keys)
            xi = xi.view(theta.shape).to(theta.dtype)
        return xi * self.sigmas[place].to(theta.dtype)

    def rounding_bits(self, place: int, theta: Tensor, start: int = 0) -> Tensor | None:
        """Return 16 random bits for every element where the group rounds stochastically; arguments as in `scaled`."""
        work = self.work
        if not work.group["stochastic_rounding"]:
            return None
        keys, numbers = self.rounding_keys[place].unbind(), work.numbers(place)
        bits = rounding_bits(start, theta.numel(), keys) if numbers is None else rounding_at(numbers, keys)
        return bits.view(theta.shape)


def _sum_in_blocks(g: Tensor) -> Tensor:
    """Return Σ g², a block at a time where the memory lies in one piece."""
    if g.numel() <= BLOCK or not g.is_contiguous():
        return sum_of_squares(g)
    return torch.stack([sum_of_squares(block) for block in torch.split(g.view(-1), BLOCK)]).sum()
