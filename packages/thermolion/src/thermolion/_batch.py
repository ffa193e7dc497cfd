"""What one step has to do: tensors that go through the same path together, and the numbers that go with each."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from thermolion._equations import COLD, Coefficients
from thermolion._sharding import elements_of, is_sharded, local


@dataclass
class Batch:
    """Tensors of one group, device and dtypes that are all warm or all cold; lists run in parallel.

    ``thetas``, ``grads``, ``ms``, ``vs`` are real, local views that share memory with parameters, gradients, state.
    """

    group: dict[str, Any]
    warm: bool
    params: list[Tensor] = field(default_factory=list[Tensor])
    thetas: list[Tensor] = field(default_factory=list[Tensor])
    grads: list[Tensor] = field(default_factory=list[Tensor])
    ms: list[Tensor] = field(default_factory=list[Tensor])
    vs: list[Tensor] = field(default_factory=list[Tensor])
    v_means: list[Tensor] = field(default_factory=list[Tensor])
    steps: list[Any] = field(default_factory=list[Any])  # int, or a tensor where capturable
    temperatures: list[Any] = field(default_factory=list[Any])  # float, or a tensor where capturable
    indices: list[int] = field(default_factory=list[int])  # the parameter's place among all of the optimizer
    sharded: bool = False

    @property
    def device(self) -> torch.device:
        """Where all of it lives."""
        return self.thetas[0].device

    @property
    def coefficients(self) -> Coefficients:
        """The group's numbers, read anew at every step."""
        group = self.group
        lr: float | Tensor = group["lr"]
        if isinstance(lr, Tensor) and lr.dim():
            lr = lr.squeeze()
        beta1, beta2 = group["betas"]
        return Coefficients(lr, beta1, beta2, group["weight_decay"], group["eps"])

    @property
    def capturable(self) -> bool:
        """Whether step and temperature are tensors on the device."""
        return bool(self.group["capturable"])

    @property
    def compute_dtype(self) -> torch.dtype:
        """Float64 for float64 parameters, float32 for all others."""
        return torch.promote_types(self.thetas[0].dtype, torch.float32)

    @property
    def in_place(self) -> bool:
        """Whether parameters, gradients and moments are of the dtype that is computed in."""
        dtype = self.thetas[0].dtype
        return dtype == self.compute_dtype and self.ms[0].dtype == dtype and all(g.dtype == dtype for g in self.grads)

    def numbers(self, place: int) -> Tensor | None:
        """Return the logical numbers of a shard's elements, or None where the tensor is whole."""
        param = self.params[place]
        return elements_of(param) if self.sharded and is_sharded(param) else None

    def numels(self) -> list[int]:
        """Return how many real elements each whole tensor has, at least 1."""
        if not self.sharded:
            return [theta.numel() or 1 for theta in self.thetas]
        return [(p.numel() * (2 if p.is_complex() else 1)) or 1 for p in self.params]

    def part(self, places: list[int]) -> "Batch":
        """Return the tensors at these places as work of their own."""
        names = ("params", "thetas", "grads", "ms", "vs", "v_means", "steps", "temperatures", "indices")
        lists = {name: [getattr(self, name)[place] for place in places] for name in names}
        return Batch(self.group, self.warm, sharded=self.sharded, **lists)

    def add(self, param: Tensor, grad: Tensor, state: dict[str, Any], now: tuple[Any, Any], index: int) -> None:
        """Take one parameter in, which stands at the step and the temperature ``now``."""
        m, v = state["m"], state["v"]
        theta = param
        if type(param) is not torch.nn.Parameter and is_sharded(param):
            theta, grad, m, v = local(param), local(grad), local(m), local(v)
            self.sharded = True
        if theta.is_complex():
            theta, grad, m, v = (torch.view_as_real(tensor) for tensor in (theta, grad, m, v))
        self.params.append(param)
        self.thetas.append(theta)
        self.grads.append(grad)
        self.ms.append(m)
        self.vs.append(v)
        self.v_means.append(state["v_mean"])
        self.steps.append(now[0])
        self.temperatures.append(now[1])
        self.indices.append(index)


def is_warm(temperature: float | Tensor) -> bool:
    """Say whether noise is due; on the device it is the scale that answers, so here the answer is yes."""
    return True if isinstance(temperature, Tensor) else temperature > COLD
