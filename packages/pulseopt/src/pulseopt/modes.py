"""Candidates as pairs of two axes, and the names they go by."""

from collections.abc import Sequence

from pulseopt._checks import check
from pulseopt.types import CandidateConfig

__all__ = ["build_candidate_configs_from_axes", "build_generated_candidate_name"]


def build_candidate_configs_from_axes(
    lr_candidates: list[float], noise_candidates: list[float], weight_decay_candidates: list[float] | None = None
) -> list[CandidateConfig]:
    """Returns every pair of a learning-rate factor and a noise deviation, the noise varying fastest.

    Raises:
        ValueError: an axis is empty, a value is out of range, or weight decay varies.
    """
    refuse_weight_decay(weight_decay_candidates)
    if not lr_candidates:
        raise ValueError("lr_candidates must contain at least one value.")
    if not noise_candidates:
        raise ValueError("noise_candidates must contain at least one value.")
    return [
        CandidateConfig(build_generated_candidate_name(factor, noise), factor, noise)
        for factor in lr_candidates
        for noise in noise_candidates
    ]


def build_generated_candidate_name(
    lr_multiplier: float, noise_std: float, weight_decay_multiplier: float | None = None
) -> str:
    """Returns a name made of the numbers: 0.5 and 0.005 give ``"lr0p5_n0p005"``."""
    parts = [("lr", lr_multiplier), ("n", noise_std)]
    if weight_decay_multiplier is not None:
        parts.append(("wd", weight_decay_multiplier))
    return "_".join(prefix + f"{value:.12g}".replace("-", "m").replace(".", "p") for prefix, value in parts)


def checked_axis(name: str, values: Sequence[float], zero: bool) -> list[float]:
    """Returns an axis as floats.

    Args:
        name: the argument's name, for messages.
        values: the candidates.
        zero: whether 0 is one.

    Raises:
        ValueError: there is none, or one is negative, 0 where it may not be, not finite, or there twice.
    """
    if not values:
        raise ValueError(f"{name} must contain at least one value.")
    if any(value < 0.0 or (value == 0.0 and not zero) for value in values):
        raise ValueError(f"{name} values must all be {'non-negative' if zero else 'positive'}.")
    for position, value in enumerate(values):
        check(f"{name}[{position}]", value, "[0, inf)")
        if value in values[:position]:
            raise ValueError(f"{name} contains a duplicate value: {value}.")
    return [float(value) for value in values]


def refuse_weight_decay(candidates: list[float] | None) -> None:
    """Rejects an axis of weight decays, which release 0.1.0 had already taken out."""
    if candidates not in (None, [1.0]):
        raise ValueError("Adaptive weight_decay candidates are not supported in AEES v1.0.0.")
