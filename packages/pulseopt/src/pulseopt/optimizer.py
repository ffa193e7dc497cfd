"""AdamW and SGD that run with a candidate set by hand; `AEES` does the same around any optimizer, and chooses."""

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import torch

from pulseopt._adaptive_mode import AdaptiveMode, check_mode
from pulseopt.types import CandidateConfig

Params = Iterable[torch.nn.Parameter] | Iterable[dict[str, Any]]


class AdaptiveModeAdamW(AdaptiveMode, torch.optim.AdamW):
    """AdamW whose steps run with the rate and the noise of a mode.

    Args:
        params: parameters, or groups of them.
        lr: learning rate, above 0 and finite; a tensor stays one.
        weight_decay: decoupled decay, at least 0.
        betas: the two decays of the moments, each in [0, 1).
        eps: added to the denominator, above 0 and finite.
        amsgrad: keep the largest second moment.
        mode: what to run with; None changes nothing.
        noise_seed: of the noise; None takes fresh entropy, which the state records.
        track_update_norm: measure each step's length, for `compute_update_norm`; costs one copy of the parameters.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: a setting lies outside its interval, in the defaults or in a group.

    Source: Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101
    """

    INTERVALS: ClassVar = {
        "lr": "(0, inf)",
        "weight_decay": "[0, inf)",
        "betas": "[0, 1)",
        "eps": "(0, inf)",
    }

    def __init__(
        self,
        params: Params,
        lr: float,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        amsgrad: bool = False,
        mode: CandidateConfig | None = None,
        noise_seed: int | None = None,
        *,
        track_update_norm: bool = True,
    ) -> None:
        _refuse("lr", lr)
        _refuse("eps", eps)
        for place, beta in enumerate(betas):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {place}: {beta}; betas must lie in [0, 1)")
        if mode is not None:
            check_mode(mode)
        torch.optim.AdamW.__init__(
            self, params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad
        )
        self._set_up(mode, noise_seed, track_update_norm)


class AdaptiveModeSGD(AdaptiveMode, torch.optim.SGD):
    """SGD whose steps run with the rate and the noise of a mode.

    Args:
        params: parameters, or groups of them.
        lr: learning rate, above 0 and finite; a tensor stays one.
        momentum: at least 0 and finite.
        weight_decay: at least 0 and finite, added to the gradient.
        dampening: of the momentum, at least 0 and finite.
        nesterov: look ahead; needs momentum and no dampening.
        mode: what to run with; None changes nothing.
        noise_seed: of the noise; None takes fresh entropy, which the state records.
        track_update_norm: measure each step's length, for `compute_update_norm`; costs one copy of the parameters.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: a setting lies outside its interval, in the defaults or in a group.
    """

    INTERVALS: ClassVar = {
        "lr": "(0, inf)",
        "momentum": "[0, inf)",
        "weight_decay": "[0, inf)",
        "dampening": "[0, inf)",
    }

    def __init__(
        self,
        params: Params,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
        mode: CandidateConfig | None = None,
        noise_seed: int | None = None,
        *,
        track_update_norm: bool = True,
    ) -> None:
        _refuse("lr", lr)
        for name, value in (("momentum", momentum), ("dampening", dampening)):
            if value < 0.0:
                raise ValueError(f"{name} must be non-negative.")
        if mode is not None:
            check_mode(mode)
        torch.optim.SGD.__init__(
            self,
            params,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
        )
        self._set_up(mode, noise_seed, track_update_norm)


def _refuse(name: str, value: float) -> None:
    """Refuse what can be no rate, in the words of release 0.1.0."""
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite.")
    if value <= 0.0:
        raise ValueError(f"{name} must be positive.")
