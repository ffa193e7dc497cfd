"""Read a parameter group's hyper-parameters, and refuse the ones outside their intervals."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from ._checks import check, check_integer
from ._lookahead import MOMENTA, Lookahead
from ._radam import Settings


def check_group(group: dict[str, Any]) -> None:
    """Refuse a group with a hyper-parameter outside its interval, before anything is written.

    Raises:
        TypeError: a number was wanted, and something else came.
        ValueError: a number lies outside its interval, or two settings exclude each other.
    """
    if isinstance(group["lr"], Tensor) and group["lr"].numel() != 1:
        raise ValueError(f"Tensor lr must be 1-element, got one of shape {tuple(group['lr'].shape)}")
    with _as_torch_says(f"Invalid learning rate: {group['lr']}"):
        check("lr", group["lr"], "[0, inf)")
    betas: Any = group["betas"]
    if not hasattr(betas, "__len__") or len(betas) != 2:
        raise ValueError(f"betas must be two numbers in [0, 1), got {betas!r}")
    for place in (0, 1):
        with _as_torch_says(f"Invalid beta parameter at index {place}: {betas[place]}"):
            _check_number(f"betas[{place}]", betas[place], "[0, 1)")
    with _as_torch_says(f"Invalid epsilon value: {group['eps']}"):
        _check_number("eps", group["eps"], "[0, inf)")
    with _as_torch_says(f"Invalid weight_decay value: {group['weight_decay']}"):
        _check_number("weight_decay", group["weight_decay"], "[0, inf)")
    _check_number("lookahead_alpha", group["lookahead_alpha"], "[0, 1]")
    check_integer("lookahead_steps", group["lookahead_steps"], "[1, inf)")
    if group["lookahead_momentum"] not in MOMENTA:
        raise ValueError(f"lookahead_momentum must be one of {MOMENTA}, got {group['lookahead_momentum']!r}")
    _check_paths(group)


@contextmanager
def _as_torch_says(words: str) -> Generator[None]:
    """Add torch.optim's words to a refusal, for callers that look for them."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{error}. {words}") from None


def _check_number(name: str, value: Any, interval: str) -> None:
    if isinstance(value, Tensor):
        raise TypeError(f"{name} must be a Python number in {interval}, got a tensor; only lr may be one")
    check(name, value, interval)


def _check_paths(group: dict[str, Any]) -> None:
    if group["fused"] and group["foreach"]:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together; pass one of them")
    if group["differentiable"]:
        for name in ("fused", "foreach"):
            if group[name]:
                raise RuntimeError(f"`{name}` does not support `differentiable`; pass {name}=False, or None")


def radam_settings(group: dict[str, Any]) -> Settings:
    """Return a group's hyper-parameters of RAdam, under their names on paper."""
    lr = group["lr"]
    return Settings(
        eta=lr.reshape(()) if isinstance(lr, Tensor) and lr.dim() else lr,
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        epsilon=group["eps"],
        weight_decay=group["weight_decay"],
        decoupled=group["decoupled_weight_decay"],
        maximize=group["maximize"],
    )


def lookahead_settings(group: dict[str, Any]) -> Lookahead:
    """Return a group's hyper-parameters of Lookahead, under their names on paper."""
    return Lookahead(group["lookahead_steps"], group["lookahead_alpha"], group["lookahead_momentum"])
