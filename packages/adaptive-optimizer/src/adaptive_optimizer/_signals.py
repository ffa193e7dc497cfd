"""Conversion of a loss or reward to one Python number, the same on every rank."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from adaptive_optimizer._controller import Snapshot

_NOT_REAL = {torch.bool, torch.complex32, torch.complex64, torch.complex128}
_HAS_RANKS = dist.is_available()


def read(name: str, signal: float | Tensor, *, average_ranks: bool) -> float:
    """Returns the value of a loss or reward: one read from its device, none where it is a number already.

    Args:
        name: for the error message.
        signal: a real number, or a tensor of shape ``()`` or ``(1,)``; its graph is not changed.
        average_ranks: take the mean over all ranks of the default process group, where there is one.

    Raises:
        TypeError: ``signal`` is neither a real number nor a tensor of them.
        ValueError: the tensor has another shape.
    """
    return _number(_accepted(name, signal, average_ranks=average_ranks))


def _accepted(name: str, signal: float | Tensor, *, average_ranks: bool) -> float | Tensor:
    if isinstance(signal, Tensor):
        if signal.ndim and signal.shape != (1,):
            raise ValueError(
                f"{name} must be one number, of shape () or (1,), got shape {tuple(signal.shape)}; reduce it, "
                f"for example with .mean()"
            )
        if signal.dtype in _NOT_REAL:
            raise TypeError(f"{name} must be a real number, got a tensor of {signal.dtype}")
    elif type(signal) is not float and not isinstance(signal, Real):
        raise TypeError(
            f"{name} must be a real number or a tensor of one, got {signal!r} of type {type(signal).__name__}"
        )
    return _mean_over_ranks(signal) if average_ranks and _several_ranks() else signal


def _number(signal: float | Tensor) -> float:
    if isinstance(signal, Tensor):
        return float(signal.item())
    try:
        return float(signal)
    except OverflowError:  # an integer beyond float64
        return float("inf") if signal > 0 else float("-inf")


def _several_ranks() -> bool:
    return _HAS_RANKS and dist.is_initialized() and dist.get_world_size() > 1


def _mean_over_ranks(signal: float | Tensor) -> Tensor:
    if not isinstance(signal, Tensor):
        on_gpu = "gloo" not in str(dist.get_backend()) and torch.cuda.is_available()
        signal = torch.tensor(_number(signal), device="cuda" if on_gpu else "cpu")
    mean: Tensor = signal.detach().to(torch.float64).reshape(()) / dist.get_world_size()
    dist.all_reduce(mean)
    return mean


class DelayedLoss:
    """A loss that is read later; its copy to the host has begun."""

    def __init__(self, loss: float | Tensor) -> None:
        self._value = loss
        self._copied: torch.cuda.Event | None = None
        if isinstance(loss, Tensor):
            on_gpu = loss.is_cuda
            self._value = torch.empty((), dtype=loss.dtype, pin_memory=on_gpu)
            self._value.copy_(loss.detach().reshape(()), non_blocking=on_gpu)
            if on_gpu:
                self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
                self._copied.record(torch.cuda.current_stream(loss.device))

    def read(self) -> float:
        """Returns the loss; waits for its own copy at most."""
        if self._copied is not None:
            self._copied.synchronize()
        return _number(self._value)

    def __reduce__(self) -> tuple[type["DelayedLoss"], tuple[float]]:
        """Copies and pickles hold the number."""
        return DelayedLoss, (self.read(),)


class LossBuffer:
    """The losses since the last step: averaged over ``size`` micro-batches, withdrawn where the step was skipped.

    GradScaler skips a step after an overflow without notifying the optimizer. The signs of it: ``zero_grad`` resets the
    gradients after a loss came, and the next loss comes before any step.
    """

    def __init__(self, size: int, delay: int, *, average_ranks: bool) -> None:
        self._size = size
        self._delay = delay
        self._average_ranks = average_ranks
        self._delayed: DelayedLoss | None = None  # the loss that counts at the next call, where ``delay`` is 1
        self._waiting: list[float] = []  # losses of a window that is not yet full
        self.clear()

    def clear(self) -> None:
        """Begins the losses of the next step."""
        self.latest: float | None = None  # the loss that reached the controller
        self.before: Snapshot | None = None  # the controller before the first of them
        self.gradients_reset = False
        self.came = self.fed = False  # a loss was handed over; it reached the controller

    def read(self, loss: float | Tensor) -> float | DelayedLoss:
        """Returns one loss as a number, or as one that is read later where losses are delayed."""
        average_ranks = self._average_ranks and self._size == 1
        if self._delay:
            return DelayedLoss(_accepted("loss", loss, average_ranks=average_ranks))
        return read("loss", loss, average_ranks=average_ranks)

    def add(self, loss: float | DelayedLoss) -> float | None:
        """Returns the loss that counts now: ``loss``, the one before, the mean of a window that it fills, or None."""
        self.came = True
        if isinstance(loss, DelayedLoss):
            due, self._delayed = self._delayed, loss
            return due.read() if due else None
        if self._size == 1:
            return loss
        self._waiting.append(loss)
        return self.take() if len(self._waiting) == self._size else None

    def take(self) -> float | None:
        """Returns the mean of the losses that wait, over all ranks; None where none waits."""
        if not self._waiting:
            return None
        mean = sum(loss / len(self._waiting) for loss in self._waiting)
        self._waiting.clear()
        return read("loss", mean, average_ranks=self._average_ranks)

    def fed_to(self, before: Snapshot, value: float) -> None:
        """Records that ``value`` reaches the controller, which was in the state ``before``."""
        if not self.fed:
            self.before = before
        self.fed, self.latest = True, value

    def reset_gradients(self) -> None:
        """Records that the gradients of the losses are gone."""
        self.gradients_reset = self.came

    def withdraw(self) -> Snapshot | None:
        """Drops the losses of a step that was skipped; returns the controller's state before them."""
        before = None if self._delay else self.before  # a delayed loss that was fed is that of a step that was made
        self._delayed = None
        self._waiting.clear()
        self.clear()
        return before

    def state_dict(self) -> dict[str, Any]:
        """Returns what a checkpoint between two steps needs."""
        state = {"waiting": list(self._waiting), "fed": self.fed, "before": self.before}
        if self._delay:
            state |= {"came": self.came, "delayed": self._delayed.read() if self._delayed else None}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from ``state``; from an empty one as if no loss had come."""
        self.clear()
        delayed: float | None = state.get("delayed")
        self._delayed = None if delayed is None or not self._delay else DelayedLoss(delayed)
        self._waiting = list(state.get("waiting", []))
        self.fed = bool(state.get("fed", False))
        self.came = bool(state.get("came", self.fed or self._waiting))
        self.before = state.get("before")
