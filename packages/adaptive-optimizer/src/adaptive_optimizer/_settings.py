"""The settings of the controller, checked once."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, cast

from adaptive_optimizer._checks import check, check_integer

POLICIES = ("backoff", "ignore", "raise")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of the controller apart from the rules; ``AdaptiveOptimizer`` documents each one."""

    cycle_length: int = 500
    cycle_mult: float = 2
    cycle_floor: float = 0.1
    loss_beta: float = 0.9
    min_rel_improve: float = 1e-4
    noise_weight: float = 1.0
    lr_factor_bounds: tuple[float, float] = (0.1, 10.0)
    min_lr: float = 0.0
    max_lr: float = inf
    reward_center: float | None = None
    reward_span: float | None = None
    beta_warmup: int = 100
    compensate_lr: bool = True
    accumulate: int = 1
    on_nonfinite: str = "backoff"
    average_ranks: bool = True
    guard: bool = False
    loss_delay: int = 0

    def __post_init__(self) -> None:
        """Checks every number; the interval is the message."""
        check_integer("cycle_length", self.cycle_length, "[1, inf)")
        check("cycle_mult", self.cycle_mult, "[1, inf)")
        check("cycle_floor", self.cycle_floor, "[0, 1]")
        check("loss_beta", self.loss_beta, "[0, 1)")
        check("min_rel_improve", self.min_rel_improve, "[0, inf)")
        check("noise_weight", self.noise_weight, "[0, inf)")
        self._check_bounds()
        check("min_lr", self.min_lr, "[0, inf)")
        check("max_lr", self.max_lr, f"[{self.min_lr}, inf]")
        if self.reward_center is not None:
            check("reward_center", self.reward_center, "(-inf, inf)")
        if self.reward_span is not None:
            check("reward_span", self.reward_span, "(0, inf)")
        check_integer("beta_warmup", self.beta_warmup, "[0, inf)")
        check_integer("accumulate", self.accumulate, "[1, inf)")
        check_integer("loss_delay", self.loss_delay, "[0, 1]")
        if self.loss_delay and self.accumulate > 1:
            raise ValueError(f"accumulate must be 1 where loss_delay is 1, got {self.accumulate}; drop one of the two")
        if self.on_nonfinite not in POLICIES:
            raise ValueError(f"on_nonfinite must be one of {', '.join(POLICIES)}, got {self.on_nonfinite!r}")

    def _check_bounds(self) -> None:
        _check_pair("lr_factor_bounds", self.lr_factor_bounds)
        check("lr_factor_bounds[0]", self.lr_factor_bounds[0], "(0, 1]")
        check("lr_factor_bounds[1]", self.lr_factor_bounds[1], "[1, inf)")


def _check_pair(name: str, value: object) -> None:
    if not isinstance(value, tuple | list) or len(cast(Sequence[Any], value)) != 2:
        raise TypeError(f"{name} must be a pair (low, high), got {value!r}")
