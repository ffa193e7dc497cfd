"""One step of an optimizer under a candidate: all of it happens, or nothing."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from pulseopt._step.candidate import TemporaryCandidate
from pulseopt._step.noise import NoiseSource
from pulseopt._step.update_norm import UpdateNorm
from pulseopt.types import CandidateConfig

Closure = Callable[[], Any]


class OptimizerStep:
    """Runs an optimizer's step with a candidate's rate and noise.

    Where the optimizer's ``step`` is ours to call, `take` does all of it; otherwise `begin` comes before it and `end`
    after it.

    Args:
        optimizer: the user's.
        noise: where the noise comes from.
        moved: measures how far each step moves the parameters; None does not.
    """

    def __init__(self, optimizer: Optimizer, noise: NoiseSource, moved: UpdateNorm | None) -> None:
        self._optimizer = optimizer
        self._candidate = TemporaryCandidate(optimizer, noise)
        self._moved = moved
        self.scaled: bool = False  # whether the gradients have come through a GradScaler so far

    def begin(self, candidate: CandidateConfig, closure: Closure | None) -> Closure | None:
        """Applies the candidate to the optimizer and returns the closure to step with."""
        if self._moved is not None:
            params = [p for group in self._optimizer.param_groups for p in group["params"]]
            self._moved.begin([p for p in params if p.requires_grad and (closure is not None or p.grad is not None)])
        return self._candidate.apply(candidate, closure)

    def end(self, failed: bool = False) -> bool:
        """Restores the optimizer's own rates and gradients; returns whether the parameters were stepped.

        A fused optimizer under a GradScaler runs its step even after an overflow, and changes nothing in it.
        """
        overflow: Tensor | None = getattr(self._optimizer, "found_inf", None)
        failed = failed or (overflow is not None and bool(overflow.item()))
        self._candidate.undo(failed)
        if self._moved is not None and not failed:
            self._moved.end()
        return not failed

    def cancel(self) -> None:
        """Restores what a step that raised has left on the optimizer."""
        self._candidate.undo()

    def update_norm(self) -> float | None:
        """Returns how far the last step moved the parameters; None where it is not measured, or not finite."""
        moved = None if self._moved is None else self._moved.read()
        return moved if moved is None or math.isfinite(moved) else None

    def take(self, candidate: CandidateConfig, scaler: Any, closure: Closure | None) -> bool:
        """Steps once.

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
            return self._take_scaled(candidate, scaler)
        closure = self.begin(candidate, closure)
        try:
            self._optimizer.step() if closure is None else self._optimizer.step(closure)
        except BaseException:
            self.end(failed=True)
            raise
        return self.end()

    def _take_scaled(self, candidate: CandidateConfig, scaler: Any) -> bool:
        """Steps through a scaler, which calls the optimizer only if there was no overflow."""
        try:
            scaler.unscale_(self._optimizer)
        except RuntimeError as error:
            if "already been called" not in str(error):  # the user unscaled to clip: just what is wanted
                raise
        stepped: list[bool] = []

        def before(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            self.begin(candidate, None)

        def after(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            stepped.append(self.end())

        hooks = [self._optimizer.register_step_pre_hook(before), self._optimizer.register_step_post_hook(after)]
        try:
            scaler.step(self._optimizer)
        except BaseException:
            self.end(failed=True)
            raise
        finally:
            for hook in hooks:
                hook.remove()
        return stepped == [True]
