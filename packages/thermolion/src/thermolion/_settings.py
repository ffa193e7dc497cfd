"""The settings of a parameter group, checked before anything is written."""

from typing import Any

import torch
from torch import Tensor

from thermolion._checks import check, check_integer

ADDED = {
    "seed": None,
    "noise": "counter",
    "state_dtype": None,
    "maximize": False,
    "foreach": None,
    "fused": None,
    "capturable": False,
    "stochastic_rounding": False,
    "skip_zero_grad": False,
}  # what groups of 0.1.0 lack
STATE_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def check_settings(settings: dict[str, Any]) -> None:
    """Refuses a group's settings where one of them does not lie where it must.

    Raises:
        TypeError: a setting is of the wrong kind.
        ValueError: a setting has a wrong value, or two of them contradict each other.
    """
    lr = settings["lr"]
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError(f"Tensor lr must be 1-element, got one of shape {tuple(lr.shape)}; pass one number")
    check("lr", lr, "[0, inf)")
    _check_betas(settings["betas"])
    check("temp_decay", settings["temp_decay"], "(0, 1]")
    check("weight_decay", settings["weight_decay"], "[0, inf)")
    check("eps", settings["eps"], "(0, inf)")
    if settings["seed"] is not None:
        check_integer("seed", settings["seed"], "[0, 18446744073709551616)")
    if settings["noise"] not in ("counter", "global"):
        raise ValueError(f'noise must be "counter" or "global", got {settings["noise"]!r}')
    dtype = settings["state_dtype"]
    if dtype is not None and dtype not in STATE_DTYPES:
        raise ValueError(f"state_dtype must be None or a real floating dtype {STATE_DTYPES}, got {dtype!r}")
    for name in ("maximize", "capturable", "stochastic_rounding", "skip_zero_grad"):
        if not isinstance(settings[name], bool):
            raise TypeError(f"{name} must be True or False, got {settings[name]!r}")
    _check_paths(settings)


def _check_betas(betas: Any) -> None:
    if isinstance(betas, str | Tensor) or not hasattr(betas, "__len__") or len(betas) != 2:
        raise ValueError(f"betas must be a pair of numbers in [0, 1), got {betas!r}")
    for i, beta in enumerate(betas):
        check(f"betas[{i}]", beta, "[0, 1)")


def _check_paths(settings: dict[str, Any]) -> None:
    for name in ("foreach", "fused"):
        if settings[name] not in (None, True, False):
            raise TypeError(f"{name} must be True, False or None, got {settings[name]!r}")
    if settings["foreach"] and settings["fused"]:
        raise ValueError("foreach and fused cannot both be True: choose one path, or leave both None")
    if settings["fused"] and settings["noise"] == "global":
        raise ValueError('fused=True draws its noise in the kernel, so noise must be "counter"; got "global"')
