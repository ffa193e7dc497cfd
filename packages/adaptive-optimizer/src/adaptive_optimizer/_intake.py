"""Losses on their way to the controller: averaged over accumulation and ranks, and forgotten if no step came of them.

A GradScaler that finds an overflow skips the step and tells nobody. What shows it: the gradients were dropped by
``zero_grad`` after a loss came, and the next loss comes before any step. Then the controller goes back to where it was
before the first of these losses.
"""

from copy import deepcopy
from typing import Any

from torch import Tensor

from adaptive_optimizer._controller import Controller, Snapshot
from adaptive_optimizer._groups import Actuator
from adaptive_optimizer._signals import read


class Intake:
    """The losses since the last step."""

    def __init__(self, controller: Controller, actuator: Actuator) -> None:
        self._controller = controller
        self._actuator = actuator
        self._average_ranks = controller.settings.average_ranks
        self._accumulate = controller.settings.accumulate
        self._waiting: list[float] = []
        self._abandoned = False  # gradients were dropped after a loss came
        self._before: Snapshot | None = None  # the controller before the first loss
        self.fed = False  # a loss has reached the controller
        self.latest: float | None = None

    def take(self, loss: float | Tensor) -> None:
        """Take in one loss."""
        value = read("loss", loss, average_ranks=self._average_ranks and self._accumulate == 1)
        if self._abandoned:
            self._forget()
        if self._accumulate == 1:
            self._feed(value)
            return
        self._waiting.append(value)
        if len(self._waiting) == self._accumulate:
            self.flush()

    def flush(self) -> None:
        """Let losses that accumulate count now, as one."""
        if self._waiting:
            mean = sum(loss / len(self._waiting) for loss in self._waiting)
            self._waiting.clear()
            self._feed(read("loss", mean, average_ranks=self._average_ranks))

    def dropped(self) -> None:
        """The gradients have been reset."""
        self._abandoned = self.fed or bool(self._waiting)

    def kept(self) -> None:
        """The gradients are about to be used after all."""
        self._abandoned = False

    def stepped(self) -> None:
        """A step was made; what comes belongs to the next."""
        self._abandoned, self._before, self.fed, self.latest = False, None, False, None

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint between two steps needs."""
        return {"waiting": list(self._waiting), "fed": self.fed, "before": deepcopy(self._before)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``; from an empty one as if no loss had come."""
        self.stepped()
        self._waiting = list(state.get("waiting", []))
        self.fed = bool(state.get("fed", False))
        self._before = deepcopy(state.get("before"))

    def _feed(self, value: float) -> None:
        before = self._before if self.fed else self._controller.snapshot()
        if self.fed:
            self._controller.settle()  # a second loss without a step between counts as a step for (19)
        self._actuator.restore()
        self._controller.feed_loss(value, self._actuator.bases())
        self._before, self.fed, self.latest = before, True, value
        self._actuator.apply()

    def _forget(self) -> None:
        self._abandoned = self.fed = False
        self._waiting.clear()
        if self._before is not None:
            self._controller.restore(self._before)
