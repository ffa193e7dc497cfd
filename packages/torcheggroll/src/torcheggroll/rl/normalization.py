"""Mean and variance of observations over a population, its generations and its ranks."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._checks import check
from .moments import Moments, empty, merge, merge_all, normalized


class ObservationNormalizer:
    """Running mean and variance of observations; every rank holds the same bits.

    Args:
        shape: shape of one observation.
        clip: c, the largest normalised value, above 0.
        epsilon: ε, added to the variance, above 0.

    Raises:
        ValueError: ``clip`` or ``epsilon`` lies outside its interval.

    Source: Chan, Golub & LeVeque 1983, https://doi.org/10.1080/00031305.1983.10483115

    Example:
        >>> import torch
        >>> from torcheggroll.rl import ObservationNormalizer
        >>> normalizer = ObservationNormalizer((2,))
        >>> normalizer.count, normalizer.normalize(torch.tensor([3.0, 4.0]))  # nothing seen, nothing changed
        (0, tensor([3., 4.]))
    """

    def __init__(self, shape: tuple[int, ...], clip: float = 10.0, epsilon: float = 1e-8) -> None:
        check("clip", clip, "(0, inf)")
        check("epsilon", epsilon, "(0, inf)")
        self.shape: tuple[int, ...] = tuple(shape)
        self.clip: float = clip
        self.epsilon: float = epsilon
        self._seen = empty(1, self.shape)

    @property
    def count(self) -> int:
        """Number of observations so far."""
        return int(self._seen.n[0])

    @property
    def mean(self) -> Tensor:
        """Mean of the observations, float64."""
        return self._seen.mean[0].clone()

    @property
    def variance(self) -> Tensor:
        """Variance of the observations, float64; zero before the first."""
        return self._seen.squares[0] / max(self.count, 1)

    def normalize(self, observation: Tensor) -> Tensor:
        """Returns the observations with zero mean and unit variance, clipped; before any data unchanged.

        Args:
            observation: ``(..., *shape)``.
        """
        return normalized(observation, self._seen, self.epsilon, self.clip)

    def absorb(self, streams: Moments) -> None:
        """Adds the observations of some members.

        Args:
            streams: moments of each member's observations, one row for each, in order.
        """
        if len(streams.n):
            self._seen = merge(self._seen, merge_all(streams))

    def state_dict(self) -> dict[str, Any]:
        """Returns the number of observations, their mean and the sum of their squared deviations."""
        return {name: value[0].clone() for name, value in self._seen._asdict().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a checkpoint.

        Args:
            state: the result of ``state_dict``.

        Raises:
            KeyError: an entry is missing.
            ValueError: it is of observations of another shape.
        """
        rows = Moments(*(torch.as_tensor(state[name], dtype=torch.float64)[None].clone() for name in Moments._fields))
        if rows.mean.shape[1:] != self.shape or rows.squares.shape[1:] != self.shape:
            raise ValueError(f"the state must be of observations of shape {self.shape}, got {rows.mean.shape[1:]}")
        self._seen = rows


def gathered(streams: Moments, join: Callable[[Tensor], Tensor]) -> Moments:
    """Returns the rows of all ranks, rank by rank.

    Args:
        streams: the rows of this rank.
        join: function from ``(rows, n)`` float64 of this rank to those of all, in order; n is twice the size of an
            observation plus one.
    """
    rows, shape = len(streams.n), streams.mean.shape[1:]
    width = shape.numel()
    table = join(torch.cat([streams.n[:, None], *(t.reshape(rows, width) for t in streams[1:])], 1))
    return Moments(table[:, 0], *(t.reshape(-1, *shape) for t in (table[:, 1 : 1 + width], table[:, 1 + width :])))
