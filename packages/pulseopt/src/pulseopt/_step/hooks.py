"""A controller inside somebody else's training loop: hooks around the optimizer's step, losses as they come."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from pulseopt._distributed import check_loss
from pulseopt._step.optimizer_step import Stepper
from pulseopt.episode import StructuredEpisodeManager
from pulseopt.types import CandidateConfig


class Attachment:
    """Takes every step of an optimizer with the episode's candidate, and scores it with the loss observed for it.

    Losses observed before a step are averaged and belong to it; a step without any takes the next one observed.

    Args:
        optimizer: the one whose ``step`` is called in the end.
        stepper: puts candidates on and takes them off.
        manager: scores.
        choose: returns a step's candidate.
        read: makes a float of a loss.
        skip_nonfinite: leave steps with a non-finite loss unscored instead of raising.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        stepper: Stepper,
        manager: StructuredEpisodeManager,
        choose: Callable[[int], CandidateConfig],
        read: Callable[[float | Tensor], float],
        skip_nonfinite: bool,
    ) -> None:
        self._stepper = stepper
        self._manager = manager
        self._choose = choose
        self._read = read
        self._skip_nonfinite = skip_nonfinite
        self.steps = 0
        self.awaiting = False
        self._norm: float | None = None
        self._pending: float | Tensor = 0.0
        self._observed = 0
        self._loss: float | None = None
        self._scored = False
        self._hooks = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]

    def detach(self) -> None:
        """Leave the optimizer as it was found."""
        self._stepper.end()
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def observe(self, loss: float | Tensor) -> None:
        """Take a loss in: for the step that waits for one, else for the step to come.

        Raises:
            TypeError: ``loss`` is no number.
            ValueError: ``loss`` holds several, or is not finite; it belongs to no step then.
        """
        check_loss(loss)
        if self.awaiting:
            self.awaiting = False
            self._record(self._finite(self._read(loss)))
        elif isinstance(loss, Tensor):
            self._pending = self._pending + loss.detach().reshape(())
            self._observed += 1
        else:
            value = float(loss)
            if not math.isfinite(value) and not self._skip_nonfinite:
                raise ValueError("loss passed to observe() must be finite.")
            self._pending = self._pending + value
            self._observed += 1

    def state_dict(self) -> dict[str, Any]:
        """Return what the next step depends on, as plain values."""
        pending = self._pending.item() if isinstance(self._pending, Tensor) else self._pending
        return {
            "steps": self.steps,
            "awaiting": self.awaiting,
            "norm": self._norm,
            "pending": pending,
            "observed": self._observed,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the saved one stood."""
        self.steps, self.awaiting = state_dict["steps"], state_dict["awaiting"]
        self._norm, self._pending = state_dict["norm"], state_dict["pending"]
        self._observed = state_dict["observed"]

    def _finite(self, value: float) -> float | None:
        if math.isfinite(value):
            return value
        if self._skip_nonfinite:
            return None
        raise ValueError("loss passed to observe() must be finite.")

    def _record(self, loss: float | None) -> None:
        norm, self._norm = self._norm, None
        if loss is not None:
            self._manager.on_step_end(loss, update_norm=norm)

    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        self._stepper.end()  # a step that raised could not take its candidate off
        self.awaiting = False
        self._scored, self._loss = self._observed > 0, None
        if self._scored:
            mean = self._pending / self._observed
            self._pending, self._observed = 0.0, 0
            self._loss = self._finite(self._read(mean))
        candidate = self._choose(self.steps)
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        wrapped = self._stepper.begin(candidate, closure)
        if closure is None:
            return None
        if "closure" in kwargs:
            return args, {**kwargs, "closure": wrapped}
        return (args[0], wrapped, *args[2:]), kwargs

    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._stepper.note_overflow()
        skipped = self._stepper.overflowed()
        self._stepper.end(failed=skipped)
        if skipped:
            return
        self.steps += 1
        self._norm = self._stepper.update_norm()
        if self._scored:
            self._record(self._loss)
        else:
            self.awaiting = True
