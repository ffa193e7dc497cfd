"""One step of an optimizer with a candidate on it: all of it happens, or nothing."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from pulseopt._step.candidate import Transient
from pulseopt._step.noise import NoiseSource
from pulseopt._step.update_norm import UpdateNorm, norm
from pulseopt.types import CandidateConfig


class Stepper:
    """Steps an optimizer with a candidate's rate and noise.

    Args:
        optimizer: the user's.
        noise: where the noise comes from.
        track_update_norm: whether to measure how far each step moves the parameters.
    """

    def __init__(self, optimizer: Optimizer, noise: NoiseSource, track_update_norm: bool) -> None:
        self._optimizer = optimizer
        self._transient = Transient(optimizer, noise)
        self._track = track_update_norm
        self._moved = UpdateNorm()
        self._overflow: Tensor | None = None
        self.scaled: bool = False  # whether the gradients have come through a GradScaler so far

    def begin(self, candidate: CandidateConfig, closure: Callable[[], Any] | None) -> Callable[[], Any] | None:
        """Put the candidate on the optimizer, and return the closure to step with."""
        if self._track:
            groups = self._optimizer.param_groups
            params = [param for group in groups for param in group["params"]]
            self._moved.begin([p for p in params if p.requires_grad and (closure is not None or p.grad is not None)])
        return self._transient.apply(candidate, closure)

    def end(self, failed: bool = False) -> None:
        """Take the candidate off the optimizer."""
        self._transient.undo(failed)

    def note_overflow(self) -> None:
        """Remember the flag with which a GradScaler tells a fused optimizer to change nothing."""
        self._overflow = getattr(self._optimizer, "found_inf", None)

    def overflowed(self) -> bool:
        """Return whether the step that has just ended was skipped inside a fused optimizer."""
        flag, self._overflow = self._overflow, None
        return flag is not None and bool(flag.item())

    def update_norm(self) -> float | None:
        """Return how far the last step moved the parameters; None where it is not measured, or not finite."""
        if not self._track:
            return None
        moved = norm(self._moved.squared_moves())
        return moved if math.isfinite(moved) else None

    def step(self, candidate: CandidateConfig, scaler: Any, closure: Callable[[], Any] | None) -> bool:
        """Step once.

        Returns:
            Whether the parameters were stepped: False where the scaler found an overflow.

        Raises:
            ValueError: both a closure and a scaler that is on.
            RuntimeError: no scaler, although the gradients came through one before.
        """
        scaling = scaler is not None and scaler.is_enabled()
        if scaling and closure is not None:
            raise ValueError(
                "closure must be None with a GradScaler, which cannot scale inside it; drop one of the two"
            )
        if self.scaled and scaler is None:
            raise RuntimeError(
                "scaler must be passed again: earlier gradients came through a GradScaler, and noise on gradients that "
                "are still scaled would be too small; call step_end(loss, scaler=scaler)"
            )
        if scaling:
            self.scaled = True
            return self._step_scaled(candidate, scaler)
        closure = self.begin(candidate, closure)
        try:
            self._optimizer.step() if closure is None else self._optimizer.step(closure)
        except BaseException:
            self.end(failed=True)
            raise
        self.end()
        return True

    def _step_scaled(self, candidate: CandidateConfig, scaler: Any) -> bool:
        """Step through a scaler, which calls the optimizer only if there was no overflow."""
        try:
            scaler.unscale_(self._optimizer)
        except RuntimeError as error:
            if "already been called" not in str(error):  # the user unscaled to clip: just what is wanted
                raise
        ran: list[bool] = []

        def before(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            self.begin(candidate, None)

        def after(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            self.note_overflow()
            ran.append(True)

        hooks = [self._optimizer.register_step_pre_hook(before), self._optimizer.register_step_post_hook(after)]
        try:
            scaler.step(self._optimizer)
        except BaseException:
            self.end(failed=True)
            raise
        finally:
            for hook in hooks:
                hook.remove()
        skipped = not ran or self.overflowed()
        self.end(failed=skipped)
        return not skipped
