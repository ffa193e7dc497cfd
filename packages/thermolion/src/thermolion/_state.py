"""The state of a parameter: its beginning, step count, temperature and checkpoint; and the seed of a run.

Every state holds its step and its temperature as tensors, as `torch.optim` does. The tensors are elements of two rows
per group, so that a step of the whole group advances them all in two operations. A `Clock` mirrors them as Python
numbers, so that a step never synchronises with the device.
"""

# torch's operations on lists are private by name only.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from thermolion._equations import cool
from thermolion._sharding import common_seed, whole

State = dict[str, Any]
COMPLEX_OF = {torch.float32: torch.complex64, torch.float64: torch.complex128}


def moment_dtype(param: Tensor, state_dtype: torch.dtype | None) -> torch.dtype:
    """Returns the dtype of m and v: the parameter's, unless the group asks for another."""
    if state_dtype is None:
        return param.dtype
    return COMPLEX_OF[state_dtype] if param.is_complex() else state_dtype


def scalar_dtype(param: Tensor) -> torch.dtype:
    """Returns the dtype of v̄: that of the computation."""
    return torch.float64 if param.dtype in (torch.float64, torch.complex128) else torch.float32


def begin(param: Tensor, group: dict[str, Any], step: Tensor, temp: Tensor) -> State:
    """Returns the state before the first step, m = v = 0, with the tensors of its count, 0, and its temperature, 1."""
    dtype = moment_dtype(param, group["state_dtype"])
    m, v = (torch.zeros_like(param, dtype=dtype, memory_format=torch.preserve_format) for _ in range(2))
    v_mean = torch.zeros((), dtype=scalar_dtype(param), device=param.device)
    return {"step": step, "m": m, "v": v, "temp": temp, "v_mean": v_mean}


def restore(saved: State, loaded: State, param: Tensor, group: dict[str, Any]) -> None:
    """Makes ``loaded`` a state of ``param`` again, from what the checkpoint ``saved``.

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
        temperature = 1.0
        for _ in range(round(float(steps))):
            temperature = cool(temperature, group["temp_decay"])
    device = param.device if group["capturable"] else torch.device("cpu")
    for name, value, kind in (("step", steps, torch.float32), ("temp", temperature, torch.float64)):
        loaded[name] = torch.as_tensor(value, dtype=kind).detach().to(device=device, copy=True)
    complete(loaded, saved, param)


def complete(state: State, saved: State, param: Tensor) -> None:
    """Gives ``state`` the v̄ that was ``saved``, or the mean of its v if there was none."""
    v_mean: Tensor | None = saved.get("v_mean")
    v_mean = mean_of(state["v"]) if v_mean is None else v_mean
    state["v_mean"] = v_mean.to(dtype=scalar_dtype(param), device=param.device, copy=True)


def mean_of(v: Tensor) -> Tensor:
    """Returns the mean of a whole v, its elements that are not finite counted as zero; complex ones as real pairs."""
    v = whole(v)
    v = torch.view_as_real(v) if v.is_complex() else v
    v = v.to(torch.promote_types(v.dtype, torch.float32))
    return torch.nan_to_num(v, nan=0.0, posinf=0.0, neginf=0.0).sum() / max(v.numel(), 1)


class Clock:
    """Steps and temperatures of the parameters of one group, each on its own count."""

    def __init__(self, states: Sequence[State]) -> None:
        """Takes over ``states``, one for each parameter of the group; an empty one begins at step 0, T = 1."""
        self.steps = [round(float(state["step"])) if state else 0 for state in states]
        self.temperatures = [float(state["temp"]) if state else 1.0 for state in states]
        with torch.inference_mode(False):
            self._steps = torch.tensor(self.steps, dtype=torch.float32)
            self._temps = torch.tensor(self.temperatures, dtype=torch.float64)
            self._elements = list(zip(self._steps.unbind(), self._temps.unbind(), strict=True))
        for state, (step, temp) in zip(states, self._elements, strict=True):
            if state:
                state["step"], state["temp"] = step, temp
        self._note_versions()

    def fits(self, states: Sequence[State]) -> bool:
        """Returns whether every state still holds the tensors of this clock."""
        if len(states) != len(self._elements):
            return False
        return all(
            not state or (state["step"] is step and state["temp"] is temp)
            for state, (step, temp) in zip(states, self._elements, strict=True)
        )

    def begin(self, i: int) -> tuple[Tensor, Tensor]:
        """Returns step and temperature of a parameter that has not taken a step."""
        step, temp = self._elements[i]
        if self.steps[i] or self.temperatures[i] != 1.0:  # it had a state before
            step.zero_()
            temp.fill_(1.0)
            self._read()
        return step, temp

    def advance(self, with_grad: Sequence[int], decay: float) -> None:
        """Counts a step of the parameters ``with_grad`` and cools their temperatures."""
        if self._versions != (self._steps._version, self._temps._version):
            self._read()
        for i in with_grad:
            self.steps[i] += 1
            self.temperatures[i] = cool(self.temperatures[i], decay)
        if len(with_grad) == len(self._elements):
            self._steps.add_(1)
            self._temps.mul_(decay)
        else:
            steps, temps = zip(*(self._elements[i] for i in with_grad), strict=True)
            advance_tensors(list(steps), list(temps), decay)
        self._note_versions()

    def _read(self) -> None:
        """Reads the numbers again after somebody else has written to the tensors."""
        self.steps = [round(float(step)) for step, _ in self._elements]
        self.temperatures = [float(temp) for _, temp in self._elements]
        self._note_versions()

    def _note_versions(self) -> None:
        self._versions = self._steps._version, self._temps._version


def advance_tensors(steps: list[Tensor], temperatures: list[Tensor], decay: float) -> None:
    """Counts a step and cools, where step and temperature are tensors that nobody reads."""
    torch._foreach_add_(steps, 1)
    torch._foreach_mul_(temperatures, decay)  # (1)


def resolve_seeds(groups: list[dict[str, Any]], *, alone: bool = False) -> None:
    """Gives a seed to every group that has none: torch's initial seed, that of rank 0 in a process group.

    Args:
        groups: the optimizer's.
        alone: the other ranks may not be here: in a process group, leave everything as it is.
    """
    if all(group["seed"] is not None for group in groups):
        return
    if alone and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        return
    seed = common_seed(torch.initial_seed() % (1 << 64), groups[0]["params"][0].device)
    for group in groups:
        if group["seed"] is None:
            group["seed"] = seed
