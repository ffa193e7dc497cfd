"""Candidates as pairs of two axes, and their names."""

from pulseopt.types import CandidateConfig

__all__ = ["build_candidate_configs_from_axes", "build_generated_candidate_name"]


def build_candidate_configs_from_axes(
    lr_candidates: list[float], noise_candidates: list[float], weight_decay_candidates: list[float] | None = None
) -> list[CandidateConfig]:
    """Returns every pair of a learning-rate factor and a noise deviation, the noise varying fastest.

    Args:
        lr_candidates: factors on the learning rate, each above 0 and finite.
        noise_candidates: standard deviations of gradient noise, each at least 0 and finite.
        weight_decay_candidates: kept from release 0.1.0; None or ``[1.0]``.

    Returns:
        One candidate for each pair, named by its numbers.

    Raises:
        ValueError: an axis is empty, a value is out of range, or weight decay varies.

    >>> from pulseopt import build_candidate_configs_from_axes
    >>> [candidate.name for candidate in build_candidate_configs_from_axes([0.5, 1.0], [0.0])]
    ['lr0p5_n0', 'lr1_n0']
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
    """Returns a name made of the numbers.

    Args:
        lr_multiplier: factor on the learning rate.
        noise_std: standard deviation of gradient noise.
        weight_decay_multiplier: kept from release 0.1.0; None leaves it out of the name.

    Returns:
        The name, with ``p`` for the decimal point and ``m`` for a minus sign.

    >>> build_generated_candidate_name(0.5, 0.005)
    'lr0p5_n0p005'
    """
    parts = [("lr", lr_multiplier), ("n", noise_std)]
    if weight_decay_multiplier is not None:
        parts.append(("wd", weight_decay_multiplier))
    return "_".join(prefix + f"{value:.12g}".replace("-", "m").replace(".", "p") for prefix, value in parts)


def refuse_weight_decay(candidates: list[float] | None) -> None:
    """Rejects an axis of weight decays, which release 0.1.0 had already removed."""
    if candidates not in (None, [1.0]):
        raise ValueError("Adaptive weight_decay candidates are not supported in AEES v1.0.0.")
