"""σ of every parameter: one number, one by name, or one relative to its standard deviation; and its adaptation.

    σ_j = σ s_j                                                        (1)  σ: the level; s_j: the ratio for parameter j
    s_j = 1;  σ_j/max σ by name;  std of the parameter                 (2)  a number; a mapping; "relative"
    σ ← min(σ₀, σ clip(√(signal/τ), 0.8, 1.1))                         (3)  τ = 1: slope and curvature move alike

Along a perturbation the fitness changes by slope times σ and by curvature times σ². The ``signal`` of a step is their
ratio, so (3) leads to the σ at which they are equal, and never above the user's σ₀.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from math import isfinite, sqrt
from typing import NamedTuple

from .._checks import check
from ..filters import NamedParameter

RELATIVE = "relative"
_LEVEL = 0.05  # of a parameter's deviation, where σ is relative
_TARGET = 1.0  # signal at which σ stays
_DOWN, _UP = 0.8, 1.1  # the most that one step changes σ by

Sigma = float | Mapping[str, float] | str


class Spread(NamedTuple):
    """How far the parameters are perturbed (1)."""

    level: float
    shares: tuple[float, ...]


def spread_of(sigma: Sigma, parameters: Sequence[NamedParameter]) -> Spread:
    """Reads what the user gave for σ.

    Args:
        sigma: a number, a mapping from patterns of names (``"*.bias"``; the first that fits counts) to numbers, or
            ``"relative"``.
        parameters: the evolved ones.

    Raises:
        ValueError: a pattern fits no name, a name fits no pattern, or a number lies outside its interval.
        TypeError: something else.
    """
    if isinstance(sigma, Mapping):
        return _by_name(sigma, [p.name for p in parameters])
    if isinstance(sigma, str):
        if sigma != RELATIVE:
            raise ValueError(f"sigma must be a number, a mapping of name patterns, or {RELATIVE!r}, got {sigma!r}")
        return Spread(_LEVEL, _deviations(parameters))
    return Spread(sigma, (1.0,) * len(parameters))


def _by_name(sigma: Mapping[str, float], names: Sequence[str]) -> Spread:
    for pattern, value in sigma.items():
        check(f"sigma[{pattern!r}]", value, "[0, inf)")
    idle = [pattern for pattern in sigma if not any(fnmatchcase(name, pattern) for name in names)]
    if idle:
        raise ValueError(f"every pattern of sigma must fit a parameter, but {idle} fit none of {list(names)}")
    chosen = [next((value for pattern, value in sigma.items() if fnmatchcase(n, pattern)), None) for n in names]
    missing = [name for name, value in zip(names, chosen, strict=True) if value is None]
    if missing:
        raise ValueError(
            f"every parameter must fit a pattern of sigma, but {missing} fit none of {list(sigma)}; add '*'"
        )
    values = [float(value) for value in chosen if value is not None]
    level = max(values) or 1.0
    return Spread(level, tuple(value / level for value in values))  # (2)


def _deviations(parameters: Sequence[NamedParameter]) -> tuple[float, ...]:
    """Returns each parameter's deviation; what is constant, as biases of zero are, gets the median of the others."""
    own = [float(p.value.detach().double().std()) if p.value.numel() > 1 else 0.0 for p in parameters]
    known = sorted(value for value in own if value > 0 and isfinite(value))
    middle = known[len(known) // 2] if known else 1.0
    return tuple(value if value > 0 and isfinite(value) else middle for value in own)  # (2)


def adapted(sigma: float, signal: float, ceiling: float) -> float:
    """Moves σ towards where slope and curvature change the fitness alike (3); stays where the signal is not known."""
    if not isfinite(signal):
        return sigma
    return min(ceiling, sigma * min(max(sqrt(signal / _TARGET), _DOWN), _UP))  # (3)
