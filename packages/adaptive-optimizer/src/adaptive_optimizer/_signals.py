"""From what the training loop hands over to one Python number, the same one on every rank."""

from numbers import Real

import torch
import torch.distributed as dist
from torch import Tensor


def read(name: str, signal: float | Tensor, *, average_ranks: bool) -> float:
    """The value of a loss or reward: one read from its device, none where it is a number already.

    Args:
        name: for the error message.
        signal: a real number, or a tensor of shape ``()`` or ``(1,)``; its graph is left alone.
        average_ranks: take the mean over all ranks of the default process group, where there is one.

    Raises:
        TypeError: ``signal`` is neither a real number nor a tensor of them.
        ValueError: the tensor has another shape.
    """
    if isinstance(signal, Tensor):
        if signal.shape not in ((), (1,)):
            raise ValueError(
                f"{name} must be one number, of shape () or (1,), got shape {tuple(signal.shape)}; reduce it, "
                f"for example with .mean()"
            )
        if signal.is_complex() or signal.dtype == torch.bool:
            raise TypeError(f"{name} must be a real number, got a tensor of {signal.dtype}")
        signal = signal.detach()
    elif type(signal) is not float and not isinstance(signal, Real):
        raise TypeError(
            f"{name} must be a real number or a tensor of one, got {signal!r} of type {type(signal).__name__}"
        )
    if average_ranks and _several_ranks():
        signal = _mean_over_ranks(signal)
    if isinstance(signal, Tensor):
        return float(signal.item())
    try:
        return float(signal)
    except OverflowError:  # an integer beyond float64
        return float("inf") if signal > 0 else float("-inf")


def _several_ranks() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _mean_over_ranks(signal: float | Tensor) -> Tensor:
    if not isinstance(signal, Tensor):
        on_gpu = "gloo" not in str(dist.get_backend()) and torch.cuda.is_available()
        signal = torch.tensor(read("signal", signal, average_ranks=False), device="cuda" if on_gpu else "cpu")
    mean: Tensor = signal.to(torch.float64).reshape(()) / dist.get_world_size()
    dist.all_reduce(mean)
    return mean
