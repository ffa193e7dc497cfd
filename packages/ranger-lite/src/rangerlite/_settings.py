"""Reads the hyper-parameters of a parameter group, and refuses the ones outside their intervals."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor

from ._checks import check, check_integer
from ._lookahead import MOMENTA, LookaheadConfig
from ._radam import RAdamConfig


class GradScaling(NamedTuple):
    """The scale and overflow flag that a GradScaler passes to a fused step, one-element tensors or None."""

    scale: Tensor | None  # the gradients are multiplied by it
    found_inf: Tensor | None  # not 0 where some gradient is not finite


def radam_config(group: dict[str, Any]) -> RAdamConfig:
    """Returns a group's hyper-parameters of RAdam under the paper's symbols."""
    lr = group["lr"]
    return RAdamConfig(
        eta=lr.reshape(()) if isinstance(lr, Tensor) and lr.dim() else lr,
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        epsilon=group["eps"],
        weight_decay=group["weight_decay"],
        decoupled=group["decoupled_weight_decay"],
        maximize=group["maximize"],
    )


def lookahead_config(group: dict[str, Any]) -> LookaheadConfig:
    """Returns a group's hyper-parameters of Lookahead under the paper's symbols."""
    return LookaheadConfig(group["lookahead_steps"], group["lookahead_alpha"], group["lookahead_momentum"])


def check_group(group: dict[str, Any]) -> None:
    """Refuses a group with a hyper-parameter outside its interval, before anything is written.

    Raises:
        TypeError: a number was wanted, and something else came.
        ValueError: a number lies outside its interval.
        RuntimeError: two settings exclude each other.
    """
    lr, betas = group["lr"], group["betas"]
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError(f"Tensor lr must be 1-element, got one of shape {tuple(lr.shape)}")
    with _in_torchs_words(f"Invalid learning rate: {lr}"):
        check("lr", lr, "[0, inf)")
    if not hasattr(betas, "__len__") or len(betas) != 2:
        raise ValueError(f"betas must be two numbers in [0, 1), got {betas!r}")
    for i in (0, 1):
        _check_number(f"betas[{i}]", betas[i], "[0, 1)", f"Invalid beta parameter at index {i}")
    _check_number("eps", group["eps"], "[0, inf)", "Invalid epsilon value")
    _check_number("weight_decay", group["weight_decay"], "[0, inf)", "Invalid weight_decay value")
    _check_number("lookahead_alpha", group["lookahead_alpha"], "[0, 1]")
    check_integer("lookahead_steps", group["lookahead_steps"], "[1, inf)")
    if group["lookahead_momentum"] not in MOMENTA:
        raise ValueError(f"lookahead_momentum must be one of {MOMENTA}, got {group['lookahead_momentum']!r}")
    _check_paths(group)


def _check_number(name: str, value: Any, interval: str, torchs_words: str = "") -> None:
    if isinstance(value, Tensor):
        raise TypeError(f"{name} must be a Python number in {interval}, got a tensor; only lr may be one")
    with _in_torchs_words(f"{torchs_words}: {value}" if torchs_words else ""):
        check(name, value, interval)


@contextmanager
def _in_torchs_words(words: str) -> Generator[None]:
    """Appends torch.optim's message to a refusal, for callers that match it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{error}. {words}" if words else str(error)) from None


def _check_paths(group: dict[str, Any]) -> None:
    if group["fused"] and group["foreach"]:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together; pass one of them")
    for name in ("fused", "foreach"):
        if group["differentiable"] and group[name]:
            raise RuntimeError(f"`{name}` does not support `differentiable`; pass {name}=False, or None")
