"""A parameter's state: how it begins, and how a checkpoint's entries become it again."""

from typing import Any

import torch
from torch import Tensor

from thermolion._sharding import is_sharded, local

COMPLEX_OF = {torch.float32: torch.complex64, torch.float64: torch.complex128}


def moment_dtype(param: Tensor, state_dtype: torch.dtype | None) -> torch.dtype:
    """Return the dtype of m and v: the parameter's, unless the group asks for another."""
    if state_dtype is None:
        return param.dtype
    return COMPLEX_OF[state_dtype] if param.is_complex() else state_dtype


def scalar_dtype(param: Tensor) -> torch.dtype:
    """Return the dtype of v̄: that of the computation."""
    return torch.float64 if param.dtype in (torch.float64, torch.complex128) else torch.float32


def begin(param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
    """Return the state before the first step: m = v = 0, T = 1."""
    dtype = moment_dtype(param, group["state_dtype"])
    device = param.device
    counter: Any = 0
    temperature: Any = 1.0
    if group["capturable"]:
        counter = torch.zeros((), dtype=torch.float32, device=device)
        temperature = torch.ones((), dtype=torch.float64, device=device)
    return {
        "step": counter,
        "m": torch.zeros_like(param, dtype=dtype, memory_format=torch.preserve_format),
        "v": torch.zeros_like(param, dtype=dtype, memory_format=torch.preserve_format),
        "temp": temperature,
        "v_mean": torch.zeros((), dtype=scalar_dtype(param), device=device),
    }


def restore(saved: dict[str, Any], loaded: dict[str, Any], param: Tensor, group: dict[str, Any]) -> None:
    """Make ``loaded`` a state of ``param`` again, from what the checkpoint ``saved``.

    `torch.optim.Optimizer` casts floating state to the parameter's dtype on its way in; here moments keep the dtype
    that the group asks for and scalars their own. Checkpoints of 0.1.0 know no v̄: it is the mean of their v.
    """
    dtype = moment_dtype(param, group["state_dtype"])
    for name in ("m", "v"):
        if saved[name].dtype != loaded[name].dtype or loaded[name].dtype != dtype:
            loaded[name] = saved[name].to(dtype=dtype, device=param.device)
    decay: float = group["temp_decay"]
    steps = saved["step"]
    temperature = saved.get("temp")
    if temperature is None:
        temperature = _after(int(steps), decay)
    if group["capturable"]:
        loaded["step"] = _on_device(steps, torch.float32, param.device)
        loaded["temp"] = _on_device(temperature, torch.float64, param.device)
    else:
        loaded["step"], loaded["temp"] = int(steps), float(temperature)
    v_mean = saved.get("v_mean")
    loaded["v_mean"] = mean_of(loaded["v"]) if v_mean is None else v_mean
    loaded["v_mean"] = loaded["v_mean"].to(dtype=scalar_dtype(param), device=param.device, copy=True)


def _after(steps: int, decay: float) -> float:
    temperature = 1.0
    for _ in range(steps):
        temperature *= decay
    return temperature


def _on_device(value: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.as_tensor(value, dtype=dtype).detach().to(device=device, copy=True)


def mean_of(v: Tensor) -> Tensor:
    """Return the mean of a whole v, without what is not finite; complex ones count as real pairs."""
    if is_sharded(v):
        v = v.full_tensor()  # type: ignore[attr-defined]
    v = torch.view_as_real(local(v)) if v.is_complex() else v
    v = v.to(torch.promote_types(v.dtype, torch.float32))
    return torch.nan_to_num(v, nan=0.0, posinf=0.0, neginf=0.0).sum() / max(v.numel(), 1)
