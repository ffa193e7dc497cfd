"""Attachment to an optimizer that a trainer steps: hooks, and the matching of losses to steps."""

from typing import Any

from torch import Tensor
from torch.optim import Optimizer


def innermost(optimizer: Optimizer) -> Optimizer:
    """Returns the optimizer whose ``step`` is called in the end: Accelerate's wrapper calls the one inside."""
    while isinstance(wrapped := getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = wrapped
    return optimizer


def closure_in(args: Any, kwargs: Any) -> Any:
    """Returns the closure among the arguments of ``optimizer.step``, as its hooks see them, or None."""
    return kwargs.get("closure", args[1] if len(args) > 1 else None)


def with_closure(args: Any, kwargs: Any, closure: Any) -> tuple[Any, Any]:
    """Returns the arguments of ``optimizer.step`` with another closure."""
    if "closure" in kwargs:
        return args, {**kwargs, "closure": closure}
    return (args[0], closure, *args[2:]), kwargs


class ObservedLosses:
    """The losses observed for steps that a trainer takes.

    Losses observed before a step are averaged and belong to it; a step without any gets the next one observed.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.waiting_for_loss = False
        self.ignores_next = False  # whether the next loss is that of a step that does not count
        self.update_norm: float | None = None  # of the step that waits
        self._unheard = 0  # steps in a row whose loss has not come
        self._sum: float | Tensor = 0.0
        self._count = 0

    def add(self, loss: float | Tensor) -> None:
        """Records a loss for the next step."""
        self._sum = self._sum + (loss.detach().reshape(()) if isinstance(loss, Tensor) else float(loss))
        self._count += 1

    def take(self) -> float | Tensor | None:
        """Returns the mean of the losses recorded since the last step, and forgets them; None without any."""
        if not self._count:
            return None
        mean = self._sum / self._count
        self._sum, self._count = 0.0, 0
        return mean

    def count_unheard(self, limit: int | None) -> None:
        """Closes the wait for the last step's loss, at the beginning of the next step.

        Raises:
            RuntimeError: more than ``limit`` consecutive steps had no loss; None for no limit.
        """
        self._unheard = self._unheard + 1 if self.waiting_for_loss else 0
        self.waiting_for_loss = self.ignores_next = False
        if limit is not None and self._unheard > limit:
            unheard, self._unheard = self._unheard, 0
            raise RuntimeError(
                f"a loss must be observed for each step, and the last {unheard} steps had none, so that nothing can be "
                "learned; call aees.observe(loss) before or after optimizer.step(), or aees.detach()"
            )

    def state_dict(self) -> dict[str, Any]:
        """Returns what the next step depends on, as plain values."""
        return {
            "steps": self.steps,
            "awaiting": self.waiting_for_loss,
            "norm": self.update_norm,
            "pending": self._sum.item() if isinstance(self._sum, Tensor) else self._sum,
            "observed": self._count,
            "unheard": self._unheard,
            "ignores_next": self.ignores_next,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resumes from what `state_dict` returned."""
        self.steps, self.waiting_for_loss = state_dict["steps"], state_dict["awaiting"]
        self.update_norm, self._sum = state_dict["norm"], state_dict["pending"]
        self._count, self._unheard = state_dict["observed"], state_dict.get("unheard", 0)
        self.ignores_next = state_dict.get("ignores_next", False)
