"""The last update, kept for one step, and the alignment of the next gradient with it."""

# torch's operations on lists are private by name only.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false, reportUnknownMemberType=false

from typing import Any

import torch
from torch import Tensor

from pulseopt._maths.rate_search import alignment

_HALVES = (torch.float16, torch.bfloat16)


class LastUpdate:
    """Remembers one step's update, at the cost of one copy of the parameters.

    The copies of tensors that share a device and a dtype lie in one flat tensor, so that a comparison takes a few
    launches for any number of tensors.
    """

    def __init__(self) -> None:
        self._params: list[Tensor] = []
        self._flat: list[tuple[list[int], Tensor]] = []  # indices into params, and their flat copies
        self._copies: list[Tensor] = []  # views of the flat tensors, in the order of the params
        self._known = False  # whether the copies hold minus the last update

    def compare(self, params: list[Tensor]) -> Tensor | None:
        """Returns the alignment of the gradients with the last update, on the device; None where there is none."""
        if not self._known or not _same(params, self._params):
            return None
        sums = [self._sums(indices, flat) for indices, flat in self._flat]
        device = sums[0].device
        dot, gg, uu = torch.stack([part.to(device) for part in sums]).sum(0)
        return alignment(dot, gg.sqrt(), uu.sqrt())

    def begin(self, params: list[Tensor]) -> None:
        """Copies the parameters as they are before a step."""
        now = [param.detach() for param in params]
        if not _same(params, self._params) or any(a.shape != b.shape for a, b in zip(now, self._copies, strict=True)):
            self._allocate(params, now)
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
        """Takes saved copies of minus the last update for these parameters."""
        self._params, self._known = [], False
        if copies and [copy.shape for copy in copies] == [param.shape for param in params]:
            self.begin(params)
            self._write(copies)
            self._known = True

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles begin without an update: their parameters are others."""
        return {"_params": [], "_flat": [], "_copies": [], "_known": False}

    def _write(self, values: list[Tensor]) -> None:
        if any(hasattr(copy, "full_tensor") for copy in self._copies):  # a DTensor has no list copy
            for copy, value in zip(self._copies, values, strict=True):
                copy.copy_(value)
        elif values:
            torch._foreach_copy_(self._copies, values)

    def _allocate(self, params: list[Tensor], now: list[Tensor]) -> None:
        alike: dict[Any, list[int]] = {}
        for index, param in enumerate(now):
            alone = index if hasattr(param, "full_tensor") else -1  # a DTensor cannot be a view of a flat one
            alike.setdefault((param.device, param.dtype, alone), []).append(index)
        self._params, self._flat = list(params), []
        views: dict[int, Tensor] = {}
        for (device, dtype, alone), indices in alike.items():
            if alone >= 0:
                views[alone] = now[alone].clone()
                self._flat.append((indices, views[alone]))
                continue
            sizes = [now[index].numel() for index in indices]
            flat = torch.empty(sum(sizes), device=device, dtype=dtype)
            self._flat.append((indices, flat))
            for index, part in zip(indices, torch.split(flat, sizes), strict=True):
                views[index] = part.view(now[index].shape)
        self._copies = [views[index] for index in range(len(now))]

    def _sums(self, indices: list[int], flat: Tensor) -> Tensor:
        """Returns ⟨g, -u⟩, ⟨g, g⟩ and ⟨u, u⟩ over one device and dtype."""
        grads = [_dense(self._params[index]) for index in indices]
        if hasattr(flat, "full_tensor"):
            parts: list[Any] = [(grads[0] * flat).sum(), (grads[0] * grads[0]).sum(), (flat * flat).sum()]
            return torch.stack([part.full_tensor() for part in parts])
        g, u = torch.cat([grad.reshape(-1) for grad in grads]), flat
        if g.is_complex():
            g, u = torch.view_as_real(g).reshape(-1), torch.view_as_real(u).reshape(-1)
        if g.dtype in _HALVES:
            g, u = g.float(), u.float()
        return torch.stack([g.dot(u), g.dot(g), u.dot(u)])


def _dense(param: Tensor) -> Tensor:
    grad = param.grad
    assert grad is not None
    return grad.to_dense() if grad.is_sparse else grad


def _same(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
