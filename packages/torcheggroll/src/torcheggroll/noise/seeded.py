"""Noise from a seed per member and its estimate, as releases 0.1 and 0.2 computed them.

    E = A Bᵀ · σ/√r,  r = min(rank, m, n)          (1)  rows [0, n) of one draw are B, the rest A
    e = σ z                                        (2)  parameters that are not matrices
    seed = hash((epoch, i, j)) & 0x7FFFFFFF        (3)  member i, parameter j; a hash of integers is the same everywhere
    g = √N · mean_i(f_i E_i)                       (4)

These functions remain for existing users and for code without an ``nn.Module``. The optimizer draws from counters.

Source: torcheggroll 0.2.0 (github.com/ai4flab/torcheggroll); Sarkar et al. 2025 (EGGROLL), https://arxiv.org/abs/2511.16652
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from .._checks import check, check_integer


def _generator(seed: int, device: torch.device) -> torch.Generator:
    return torch.Generator(device=device).manual_seed(seed)


def generate_lora_noise(param: Tensor, rank: int, sigma: float, seed: int, device: torch.device) -> Tensor:
    """Draws the low-rank noise of a matrix from one seed.

    Args:
        param: ``(m, n)``; defines shape and dtype.
        rank: r, at least 1; clipped to the smaller side.
        sigma: standard deviation of one entry, in the parameter's unit.
        seed: seed of a separate generator; the global stream does not advance.
        device: where to draw; the result lives there.

    Returns:
        ``(m, n)``, equal to the bit to the noise of release 0.2.0.

    Raises:
        ValueError: ``param`` is not a matrix, ``rank`` is below 1, or ``sigma`` is negative or not finite.

    Example:
        >>> import torch
        >>> from torcheggroll import generate_lora_noise
        >>> noise = generate_lora_noise(torch.zeros(6, 4), rank=1, sigma=0.1, seed=0, device=torch.device("cpu"))
        >>> noise.shape, int(torch.linalg.matrix_rank(noise))
        (torch.Size([6, 4]), 1)
    """
    if param.dim() != 2:
        raise ValueError(f"param must be a matrix, got shape {tuple(param.shape)}; use generate_standard_noise")
    check_integer("rank", rank, "[1, inf)")
    check("sigma", sigma, "[0, inf)")
    rows, columns = param.shape
    r = max(min(rank, rows, columns), 1)
    draw = torch.randn(rows + columns, r, generator=_generator(seed, device), device=device, dtype=param.dtype)
    B, A = draw[:columns], draw[columns:]
    noise: Tensor = (A @ B.t()) * (sigma / r**0.5)  # (1)
    return noise


def generate_standard_noise(param: Tensor, sigma: float, seed: int, device: torch.device) -> Tensor:
    """Draws dense Gaussian noise in the shape of ``param`` from one seed.

    Args:
        param: of any shape; defines shape and dtype.
        sigma: standard deviation of one entry, in the parameter's unit.
        seed: seed of a separate generator; the global stream does not advance.
        device: where to draw; the result lives there.

    Returns:
        A tensor in the shape of ``param``, equal to the bit to the noise of release 0.2.0.

    Raises:
        ValueError: ``sigma`` is negative or not finite.

    Example:
        >>> import torch
        >>> from torcheggroll import generate_standard_noise
        >>> generate_standard_noise(torch.zeros(3), sigma=0.1, seed=0, device=torch.device("cpu")).shape
        torch.Size([3])
    """
    check("sigma", sigma, "[0, inf)")
    z = torch.randn(param.shape, generator=_generator(seed, device), device=device, dtype=param.dtype)
    return z * sigma  # (2)


def generate_lora_noise_batched(
    shape: tuple[int, int],
    rank: int,
    sigma: float,
    pop_size: int,
    seeds: Tensor | None,
    device: torch.device,
    dtype: torch.dtype,
    fast: bool = False,
) -> Tensor:
    """Draws the low-rank noise of a matrix for ``pop_size`` members.

    Args:
        shape: ``(m, n)`` of the parameter.
        rank: r, at least 1; clipped to the smaller side.
        sigma: standard deviation of one entry.
        pop_size: number of members.
        seeds: ``(pop_size,)`` integers; None with ``fast``.
        device: where to draw; the result lives there.
        dtype: dtype of the result.
        fast: draw all members at once from the first seed (zero without seeds), so that the noise of a member depends
            on ``pop_size``; the default draws member i from ``seeds[i]``, as release 0.2.0.

    Returns:
        ``(pop_size, m, n)``.

    Raises:
        ValueError: ``seeds`` is missing or too short, or a number lies outside its interval.
    """
    like = torch.empty(shape, dtype=dtype, device="meta")
    if not fast:
        numbers = _seed_numbers(seeds, pop_size)
        return torch.stack([generate_lora_noise(like, rank, sigma, seed, device) for seed in numbers])
    check_integer("rank", rank, "[1, inf)")
    check("sigma", sigma, "[0, inf)")
    rows, columns = shape
    r = max(min(rank, rows, columns), 1)
    generator = _generator(0 if seeds is None else int(seeds[0]), device)
    draw = torch.randn(pop_size, rows + columns, r, generator=generator, device=device, dtype=dtype)
    noise: Tensor = torch.bmm(draw[:, columns:], draw[:, :columns].transpose(1, 2)) * (sigma / r**0.5)  # (1)
    return noise


def generate_standard_noise_batched(
    shape: tuple[int, ...],
    sigma: float,
    pop_size: int,
    seeds: Tensor | None,
    device: torch.device,
    dtype: torch.dtype,
    fast: bool = False,
) -> Tensor:
    """Draws dense Gaussian noise for ``pop_size`` members; arguments as in ``generate_lora_noise_batched``.

    Returns:
        ``(pop_size, *shape)``.

    Raises:
        ValueError: ``seeds`` is missing or too short, or ``sigma`` lies outside its interval.
    """
    like = torch.empty(shape, dtype=dtype, device="meta")
    if not fast:
        numbers = _seed_numbers(seeds, pop_size)
        return torch.stack([generate_standard_noise(like, sigma, seed, device) for seed in numbers])
    check("sigma", sigma, "[0, inf)")
    generator = _generator(0 if seeds is None else int(seeds[0]), device)
    return torch.randn(pop_size, *shape, generator=generator, device=device, dtype=dtype) * sigma  # (2)


def _seed_numbers(seeds: Tensor | None, pop_size: int) -> list[int]:
    check_integer("pop_size", pop_size, "[1, inf)")
    if seeds is None or len(seeds) < pop_size:
        raise ValueError(f"seeds must hold one integer per member, {pop_size} in all; pass them, or fast=True")
    return [int(seed) for seed in seeds[:pop_size]]


def generate_noise_for_shapes(
    shapes: Mapping[str, tuple[int, ...]],
    ranks: Mapping[str, int | None],
    pop_size: int,
    sigma: float,
    epoch: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    antithetic: bool = True,
) -> dict[str, Tensor]:
    """Draws the noise of a whole population for named shapes, without a module.

    Args:
        shapes: name to shape.
        ranks: name to rank; None or no entry draws dense noise, and so does a shape that is not a matrix.
        pop_size: number of members; even when ``antithetic``.
        sigma: standard deviation of one entry.
        epoch: number of the generation; part of every seed.
        device: where to draw; the result lives there.
        dtype: dtype of the result.
        antithetic: the second half of the population is the first with reversed sign.

    Returns:
        Name to ``(pop_size, *shape)``.

    Raises:
        ValueError: ``pop_size`` is odd when antithetic, or a number lies outside its interval.

    Example:
        >>> import torch
        >>> from torcheggroll import generate_noise_for_shapes
        >>> noise = generate_noise_for_shapes({"w": (6, 4)}, {"w": 1}, 8, 0.1, epoch=0, device=torch.device("cpu"))
        >>> noise["w"].shape, torch.equal(noise["w"][0], -noise["w"][4])
        (torch.Size([8, 6, 4]), True)
    """
    check_integer("pop_size", pop_size, "[1, inf)")
    if antithetic and pop_size % 2:
        raise ValueError(
            "pop_size must be even when using antithetic sampling, "
            f"got {pop_size}; use {pop_size + 1}, or pass antithetic=False"
        )
    draws = pop_size // 2 if antithetic else pop_size
    noise: dict[str, Tensor] = {}
    for j, (name, shape) in enumerate(shapes.items()):
        seeds = torch.tensor([hash((epoch, i, j)) & 0x7FFFFFFF for i in range(draws)])  # (3)
        rank = ranks.get(name)
        E = (
            generate_lora_noise_batched((shape[0], shape[1]), rank, sigma, draws, seeds, device, dtype)
            if len(shape) == 2 and rank is not None
            else generate_standard_noise_batched(shape, sigma, draws, seeds, device, dtype)
        )
        noise[name] = torch.cat([E, -E]) if antithetic else E
    return noise


def compute_es_gradient(
    noise: Mapping[str, Tensor], rewards: Tensor, normalize_fitness: bool = True
) -> dict[str, Tensor]:
    """Estimates the direction of ascent from dense noise and the fitness of each member.

    Args:
        noise: name to ``(pop_size, *shape)``.
        rewards: ``(pop_size,)``, higher is better.
        normalize_fitness: divide by the standard deviation too; otherwise only the mean is subtracted.

    Returns:
        Name to a tensor of ``shape``; zero where all rewards are equal.

    Raises:
        ValueError: a reward is NaN or infinite.

    Example:
        >>> import torch
        >>> from torcheggroll import compute_es_gradient
        >>> noise = {"w": torch.tensor([[1.0, 0.0], [-1.0, 0.0]])}
        >>> compute_es_gradient(noise, torch.tensor([2.0, 0.0]), normalize_fitness=False)["w"]
        tensor([1.4142, 0.0000])
    """
    if not bool(torch.isfinite(rewards).all()):
        raise ValueError("rewards must be finite; drop the members without a fitness, and their mirror images, first")
    f = rewards - rewards.mean()
    deviation = rewards.std() if len(rewards) > 1 else rewards.new_zeros(())
    if normalize_fitness and bool(deviation > 1e-8):
        f = f / deviation
    root = float(len(rewards)) ** 0.5
    return {
        name: (f.view(-1, *[1] * (E.dim() - 1)) * E).mean(dim=0) * root  # (4)
        for name, E in noise.items()
    }
