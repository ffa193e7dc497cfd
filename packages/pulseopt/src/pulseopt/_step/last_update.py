"""The last update and the alignment of the next gradient with it."""

# torch's operations on lists are private by name only.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false, reportUnknownMemberType=false

from typing import Any

import torch
from torch import Tensor

from pulseopt._maths.rate_search import alignment

_HALVES = (torch.float16, torch.bfloat16)


class LastUpdate:
    """Remembers one step's update, at the cost of one copy of the parameters.

    A comparison takes the gradients and the copies as lists, in a few launches for any number of tensors.
    """

    def __init__(self) -> None:
        self._params: list[Tensor] = []
        self._copies: list[Tensor] = []  # in the order of the params
        self._known = False  # whether the copies hold minus the last update

    def compare(self, params: list[Tensor]) -> Tensor | None:
        """Returns the alignment of the gradients with the last update, on the device; None where there is none."""
        if not self._known or not _same(params, self._params):
            return None
        alike: dict[Any, tuple[list[Tensor], list[Tensor]]] = {}
        for param, copy in zip(params, self._copies, strict=True):
            g, u = _real(_gradient(param)), _real(copy)
            kind = "sharded" if _is_sharded(u) else (u.device, u.dtype)
            for tensors, tensor in zip(alike.setdefault(kind, ([], [])), (g, u), strict=True):
                tensors.append(tensor)
        parts = [(_sharded_sums if kind == "sharded" else _sums)(g, u) for kind, (g, u) in alike.items()]
        device = parts[0].device
        dot, g_norm, u_norm = torch.cat([part.to(device) for part in parts], 1)
        return alignment(dot, g_norm, u_norm)

    def begin(self, params: list[Tensor]) -> None:
        """Copies the parameters as they are before a step."""
        now = [param.detach() for param in params]
        if not _same(params, self._params) or any(a.shape != b.shape for a, b in zip(now, self._copies, strict=True)):
            self._params, self._copies = list(params), [param.clone() for param in now]
        else:
            self._write(now)
        self._known = False

    def end(self, stepped: bool) -> None:
        """Turns the copies into minus the update, if the step was taken."""
        self._known = stepped and bool(self._params)
        if self._known:
            torch._foreach_sub_(self._copies, [param.detach() for param in self._params])

    def copies(self) -> list[tuple[Tensor, Tensor]]:
        """Returns each parameter with a copy of minus its last update; empty where there is none."""
        return [(p, copy.clone()) for p, copy in zip(self._params, self._copies, strict=True)] if self._known else []

    def load(self, params: list[Tensor], copies: list[Tensor]) -> None:
        """Restores copies of minus the last update of these parameters."""
        self._params, self._known = [], False
        if copies and [copy.shape for copy in copies] == [param.shape for param in params]:
            self.begin(params)
            self._write(copies)
            self._known = True

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles begin without an update: their parameters are others."""
        return {"_params": [], "_copies": [], "_known": False}

    def _write(self, values: list[Tensor]) -> None:
        if any(map(_is_sharded, self._copies)):  # a DTensor has no list copy
            for copy, value in zip(self._copies, values, strict=True):
                copy.copy_(value)
        elif values:
            torch._foreach_copy_(self._copies, values)


def _sums(grads: list[Tensor], updates: list[Tensor]) -> Tensor:
    """Returns ⟨g, -u⟩, |g| and |u| of each tensor, as rows.

    On the CPU each is one pass over memory. Lists have no sum; that of the products is twice the sum of the positive
    ones minus the sum of their sizes.
    """
    if grads[0].device.type == "cpu":
        rows = [(g.reshape(-1).to(u.dtype), u.reshape(-1)) for g, u in zip(grads, updates, strict=True)]
        squares = [torch.stack([a.dot(a) for a in column]).sqrt() for column in zip(*rows, strict=True)]
        return torch.stack([torch.stack([g.dot(u) for g, u in rows]), *squares])
    products = torch._foreach_mul(grads, updates)
    sizes = torch._foreach_norm(products, 1)
    torch._foreach_clamp_min_(products, 0)
    positive = torch._foreach_norm(products, 1)
    dot = 2 * torch.stack(positive) - torch.stack(sizes)
    return torch.stack([dot, torch.stack(torch._foreach_norm(grads)), torch.stack(torch._foreach_norm(updates))])


def _sharded_sums(grads: list[Any], updates: list[Any]) -> Tensor:
    """Returns the same over all ranks' parts of DTensors."""
    squares = [
        torch.stack([part.sum().full_tensor() for part in (g * u, g * g, u * u)])
        for g, u in zip(grads, updates, strict=True)
    ]
    dot, gg, uu = torch.stack(squares, 1)
    return torch.stack([dot, gg.sqrt(), uu.sqrt()])


def _gradient(param: Tensor) -> Tensor:
    grad = param.grad
    assert grad is not None
    return grad.to_dense() if grad.is_sparse else grad


def _real(tensor: Tensor) -> Tensor:
    """Returns a tensor of real numbers that are wide enough to be summed."""
    tensor = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return tensor.float() if tensor.dtype in _HALVES else tensor


def _is_sharded(tensor: Tensor) -> bool:
    return hasattr(tensor, "full_tensor")


def _same(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
