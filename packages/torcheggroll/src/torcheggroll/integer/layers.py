"""Layers with integer weights and activations, for ``IntegerEggroll``."""

from math import log2, sqrt
from typing import cast

import torch
from torch import Tensor, nn

from .._checks import check_integer
from ._factors import Drawn
from ._maths import accumulated, check_bound, gate, looked_up, min_gru, shifted

SCALE = 16  # an int8 weight or activation of 16 stands for one


class IntegerLayer(nn.Module):
    """The base of layers with int8 weights; ``IntegerEggroll`` sets ``noise`` while it evaluates members.

    Args:
        bits: bits of a weight, 2 to 8; 8 keeps weights within ±127, 4 within ±7.

    Raises:
        ValueError: ``bits`` lies outside its interval.

    Example:
        >>> from torcheggroll.integer import IntegerLayer, IntegerLinear
        >>> layer = IntegerLinear(4, 2, bits=4)
        >>> isinstance(layer, IntegerLayer), layer.largest
        (True, 7)
    """

    largest: int  # magnitude of a weight
    sigma_shift: int
    noise: dict[str, Drawn] | None  # by parameter, members in front

    def __init__(self, bits: int = 8) -> None:
        super().__init__()
        check_integer("bits", bits, "[2, 8]")
        self.largest = (1 << (bits - 1)) - 1
        self.sigma_shift = 0
        self.noise = None

    def _weight(self, *size: int, deviation: int, generator: torch.Generator | None) -> nn.Parameter:
        drawn = torch.randn(size, generator=generator).mul_(deviation) if deviation else torch.zeros(size)
        weight = drawn.round_().clamp_(-self.largest, self.largest).to(torch.int8)
        return nn.Parameter(weight, requires_grad=False)


class IntegerLinear(IntegerLayer):
    """A linear layer from int8 to int8, with exact sums.

    Args:
        inputs: n, number of inputs.
        outputs: m, number of outputs.
        bias: whether to add a bias.
        shift: k; sums are divided by 2ᵏ. None keeps the standard deviation of the inputs: 4 + log₂ √n.
        bias_shift: g; a bias counts 2ᵍ units of an output.
        limit: largest magnitude of an output.
        deviation: standard deviation of the initial weights; 0 for zeros.
        bits: bits of a weight, 2 to 8.
        generator: random generator for the initial weights.

    Raises:
        ValueError: an argument lies outside its interval.

    Example:
        >>> import torch
        >>> from torcheggroll.integer import IntegerLinear
        >>> IntegerLinear(4, 2)(torch.ones(3, 4, dtype=torch.int8)).shape
        torch.Size([3, 2])
    """

    shift: int
    bias_shift: int
    limit: int
    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self,
        inputs: int,
        outputs: int,
        bias: bool = True,
        *,
        shift: int | None = None,
        bias_shift: int = 0,
        limit: int = 127,
        deviation: int = SCALE,
        bits: int = 8,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(bits)
        self.shift = round(log2(SCALE * sqrt(inputs))) if shift is None else shift
        check_integer("shift", self.shift, "[0, 20]")
        check_integer("bias_shift", bias_shift, "[0, 20]")
        check_integer("limit", limit, "[1, 32767]")
        self.bias_shift, self.limit = bias_shift, limit
        self.weight = self._weight(outputs, inputs, deviation=deviation, generator=generator)
        self.bias = self._weight(outputs, deviation=0, generator=None) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(..., n)`` int8 to ``(..., m)`` integers, both with members as first dimension while noise is set."""
        own = self.noise or {}
        noise, bias_noise = own.get("weight"), own.get("bias")
        check_bound(
            x.shape[-1], 1 if noise is None else noise.left.shape[1], self.sigma_shift, self.shift + self.bias_shift
        )
        a = accumulated(x, self.weight, self.bias, noise, bias_noise, self.sigma_shift, self.shift, self.bias_shift)
        return shifted(a, self.shift + self.sigma_shift, self.limit)


class IntegerEmbedding(IntegerLayer):
    """A table of int8 vectors.

    Args:
        symbols: number of vectors.
        width: length of each.
        deviation: standard deviation of the initial weights; 0 for zeros.
        bits: bits of a weight, 2 to 8.
        generator: random generator for the initial weights.

    Raises:
        ValueError: ``bits`` lies outside its interval.

    Example:
        >>> import torch
        >>> from torcheggroll.integer import IntegerEmbedding
        >>> IntegerEmbedding(16, 8)(torch.arange(3)).shape
        torch.Size([3, 8])
    """

    weight: nn.Parameter

    def __init__(
        self,
        symbols: int,
        width: int,
        *,
        deviation: int = SCALE,
        bits: int = 8,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(bits)
        self.weight = self._weight(symbols, width, deviation=deviation, generator=generator)

    def forward(self, index: Tensor) -> Tensor:
        """Maps ``(...)`` int64 to ``(..., width)`` int8."""
        a = looked_up(index, self.weight, (self.noise or {}).get("weight"), self.sigma_shift)
        return shifted(a, self.sigma_shift, 127)


class IntegerMinGRU(nn.Module):
    """A minGRU: gate and candidate depend on the input alone, so one product serves every step.

    Args:
        width: width of input and state.
        bits: bits of a weight, 2 to 8.
        generator: random generator for the initial weights.

    Raises:
        ValueError: ``bits`` lies outside its interval.

    Source: Feng et al. 2024, https://arxiv.org/abs/2410.01201

    Example:
        >>> import torch
        >>> from torcheggroll.integer import IntegerMinGRU
        >>> IntegerMinGRU(8)(torch.ones(2, 5, 8, dtype=torch.int8)).shape
        torch.Size([2, 5, 8])
    """

    inner: IntegerLinear

    def __init__(self, width: int, *, bits: int = 8, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.inner = IntegerLinear(width, 2 * width, bits=bits, generator=generator)

    def forward(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        """Runs along the second to last dimension.

        Args:
            x: ``(..., T, width)`` int8.
            state: ``(..., width)`` int16 before the first step; None for zeros.

        Returns:
            ``(..., T, width)`` int16: the state after each step, within ±127.
        """
        z, candidate = cast("tuple[Tensor, Tensor]", self.inner(x).chunk(2, -1))
        if state is None:
            state = torch.zeros(x.shape[:-2] + x.shape[-1:], dtype=torch.int16, device=x.device)
        return min_gru(gate(z), candidate, state)
