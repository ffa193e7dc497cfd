"""One step of an optimizer under a candidate, taken completely or not at all."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from pulseopt._step.candidate import TemporaryCandidate
from pulseopt._step.last_update import LastUpdate
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
        self._last_update: LastUpdate | None = None
        self._bare = False  # whether the step that has begun has no candidate
        self.alignment: Tensor | float | None = None  # of the step's gradients with the update before it, on the device
        self.scaled: bool = False  # whether the gradients have come through a GradScaler so far

    @property
    def measures_alignment(self) -> bool:
        """Returns whether steps are compared with the one before; switching it on or off forgets the last update."""
        return self._last_update is not None

    @measures_alignment.setter
    def measures_alignment(self, on: bool) -> None:
        if on != self.measures_alignment:
            self._last_update = LastUpdate() if on else None

    def rates_are_zero(self) -> bool:
        """Returns whether the optimizer's own rates are all 0, as in a step that only creates state."""
        for group in self._optimizer.param_groups:
            rate = group.get("lr")
            if rate is None or (isinstance(rate, Tensor) and rate.device.type != "cpu") or rate != 0:
                return False  # a tensor on another device counts as a rate and is not read
        return bool(self._optimizer.param_groups)

    def gradients_are_zero(self) -> bool:
        """Returns whether no parameter has a gradient other than 0; reads the device."""
        grads = [p.grad for group in self._optimizer.param_groups for p in group["params"] if p.grad is not None]
        return not any(bool((grad.to_dense() if grad.is_sparse else grad).any()) for grad in grads)

    def begin(self, candidate: CandidateConfig | None, closure: Closure | None) -> Closure | None:
        """Applies the candidate to the optimizer and returns the closure to step with; None changes nothing."""
        self._bare, self.alignment = candidate is None, None
        if candidate is None:
            return closure
        if self._moved is not None:
            self._moved.begin(self._with_gradient(closure is not None))
        if self._last_update is None:
            return self._candidate.apply(candidate, closure)
        if closure is None:
            self._compare()
            return self._candidate.apply(candidate, None)
        first = [closure]

        def compared() -> Any:
            loss = closure()
            if first:  # parameters and the last update are still what they were before the step
                first.clear()
                self._compare()
            return loss

        return self._candidate.apply(candidate, compared)

    def end(self, failed: bool = False) -> bool:
        """Restores the optimizer's own rates and gradients; returns whether the parameters were stepped.

        A fused optimizer under a GradScaler runs its step even after an overflow, and changes nothing in it.
        """
        overflow: Tensor | None = getattr(self._optimizer, "found_inf", None)
        failed = failed or (overflow is not None and bool(overflow.item()))
        if self._bare:
            return not failed
        self._candidate.undo(failed)
        if self._moved is not None and not failed:
            self._moved.end()
        if self._last_update is not None:
            self._last_update.end(not failed)
        return not failed

    def cancel(self) -> None:
        """Restores what a step that raised has left on the optimizer."""
        self._candidate.undo()

    def last_update(self) -> dict[str, Tensor]:
        """Returns minus the last update for a checkpoint, by group and index; empty where it is not kept."""
        if self._last_update is None:
            return {}
        names = {id(p): name for name, p in self._named().items()}
        return {names[id(param)]: copy for param, copy in self._last_update.copies() if id(param) in names}

    def load_last_update(self, saved: dict[str, Tensor]) -> None:
        """Resumes from what `last_update` returned."""
        if self._last_update is not None:
            named = self._named()
            known = [name for name in saved if name in named]
            self._last_update.load([named[name] for name in known], [saved[name] for name in known])

    def _named(self) -> dict[str, Tensor]:
        groups = self._optimizer.param_groups
        return {f"{j}:{i}": param for j, group in enumerate(groups) for i, param in enumerate(group["params"])}

    def _with_gradient(self, closure: bool = False) -> list[Tensor]:
        params = [p for group in self._optimizer.param_groups for p in group["params"]]
        return [p for p in params if p.requires_grad and (closure or p.grad is not None)]

    def _compare(self) -> None:
        assert self._last_update is not None
        params = self._with_gradient()
        self.alignment = self._last_update.compare(params)
        self._last_update.begin(params)

    def update_norm(self) -> float | None:
        """Returns how far the last step moved the parameters; None where it is not measured, or not finite."""
        moved = None if self._moved is None else self._moved.read()
        return moved if moved is None or math.isfinite(moved) else None

    def take(self, candidate: CandidateConfig | None, scaler: Any, closure: Closure | None) -> bool:
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

    def _take_scaled(self, candidate: CandidateConfig | None, scaler: Any) -> bool:
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
