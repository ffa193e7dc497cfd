"""A parameter's state: how it begins, and how a checkpoint's entries become it again."""

from typing import Any

import torch
from torch import Tensor

from thermolion._equations import cool
from thermolion._sharding import whole

COMPLEX_OF = {torch.float32: torch.complex64, torch.float64: torch.complex128}


def moment_dtype(param: Tensor, state_dtype: torch.dtype | None) -> torch.dtype:
    """Return the dtype of m and v: the parameter's, unless the group asks for another."""
    if state_dtype is None:
        return param.dtype
    return COMPLEX_OF[state_dtype] if param.is_complex() else state_dtype


def scalar_dtype(param: Tensor) -> torch.dtype:
    """Return the dtype of v̄: that of the computation."""
    return torch.float64 if param.dtype in (torch.float64, torch.complex128) else torch.float32


def begin(param: Tensor, group: dict[str, Any], step: Tensor, temp: Tensor) -> dict[str, Any]:
    """Return the state before the first step, m = v = 0, with the parameter's own count and temperature, 0 and 1."""
    dtype = moment_dtype(param, group["state_dtype"])
    return {
        "step": step,
        "m": torch.zeros_like(param, dtype=dtype, memory_format=torch.preserve_format),
        "v": torch.zeros_like(param, dtype=dtype, memory_format=torch.preserve_format),
        "temp": temp,
        "v_mean": torch.zeros((), dtype=scalar_dtype(param), device=param.device),
    }


def begin_on_device(param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
    """Return `begin` with step and temperature on the parameter's device."""
    step = torch.zeros((), dtype=torch.float32, device=param.device)
    return begin(param, group, step, torch.ones((), dtype=torch.float64, device=param.device))


def restore(saved: dict[str, Any], loaded: dict[str, Any], param: Tensor, group: dict[str, Any]) -> None:
    """Make ``loaded`` a state of ``param`` again, from what the checkpoint ``saved``.

    `torch.optim.Optimizer` casts floating state to the parameter's dtype on its way in; here moments keep the dtype
    that the group asks for and scalars their own. Checkpoints of 0.1.0 hold step and temperature as numbers, and no v̄:
    it is the mean of their v.
    """
    dtype = moment_dtype(param, group["state_dtype"])
    for name in ("m", "v"):
        if saved[name].dtype != loaded[name].dtype or loaded[name].dtype != dtype:
            loaded[name] = saved[name].to(dtype=dtype, device=param.device)
    steps, temperature = saved["step"], saved.get("temp")
    if temperature is None:
        temperature = _after(round(float(steps)), group["temp_decay"])
    device = param.device if group["capturable"] else torch.device("cpu")
    loaded["step"] = _scalar(steps, torch.float32, device)
    loaded["temp"] = _scalar(temperature, torch.float64, device)
    complete(loaded, saved, param)


def complete(state: dict[str, Any], saved: dict[str, Any], param: Tensor) -> None:
    """Give ``state`` the v̄ that was ``saved``, or the mean of its v where none was."""
    v_mean: Tensor | None = saved.get("v_mean")
    v_mean = mean_of(state["v"]) if v_mean is None else v_mean
    state["v_mean"] = v_mean.to(dtype=scalar_dtype(param), device=param.device, copy=True)


def _after(steps: int, decay: float) -> float:
    temperature = 1.0
    for _ in range(steps):
        temperature = cool(temperature, decay)
    return temperature


def _scalar(value: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.as_tensor(value, dtype=dtype).detach().to(device=device, copy=True)


def mean_of(v: Tensor) -> Tensor:
    """Return the mean of a whole v, without what is not finite; complex ones count as real pairs."""
    v = whole(v)
    v = torch.view_as_real(v) if v.is_complex() else v
    v = v.to(torch.promote_types(v.dtype, torch.float32))
    return torch.nan_to_num(v, nan=0.0, posinf=0.0, neginf=0.0).sum() / max(v.numel(), 1)
