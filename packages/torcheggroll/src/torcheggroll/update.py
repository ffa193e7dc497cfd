"""Passes the negated direction of ascent to a torch optimizer.

Weights in low precision have a float32 master copy that the optimizer updates; the model gets it rounded. With the
default SGD each parameter is estimated, stepped and freed before the next; small ones in groups.
"""

# Torch documents its foreach functions nowhere, and uses them in every optimizer.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from .filters import NamedParameter

_Item = TypeVar("_Item")

_LARGE = 1 << 24  # numbers of a run of parameters on a GPU

_norm = cast(Callable[[Tensor], Tensor], torch.linalg.vector_norm)  # pyright: ignore[reportUnknownMemberType]


class Updater:
    """Owns the optimizer, the masters and the scheduler.

    Args:
        parameters: the evolved ones.
        lr: of the default optimizer, and of a class given as ``optimizer``.
        optimizer: None for plain SGD, an optimizer class, a function of the parameters, or an optimizer.
        lr_scheduler: None, a function of the optimizer, or a scheduler.
    """

    def __init__(self, parameters: Sequence[NamedParameter], lr: float, optimizer: Any, lr_scheduler: Any) -> None:
        self.optimizer: Optimizer
        self._model = [p.value for p in parameters]
        self.plain: bool = optimizer is None
        if isinstance(optimizer, Optimizer):
            held = {id(p) for group in optimizer.param_groups for p in group["params"]}
            missing = [p.name for p in parameters if id(p.value) not in held]
            if missing:
                raise ValueError(f"optimizer must hold every evolved parameter, but lacks {missing}; add them to it")
            self._masters = self._model
            self.optimizer = optimizer
        else:
            self._masters = [_master(p) for p in self._model]
            self.optimizer = _made(optimizer, self._masters, lr)
        self.lr_scheduler: Any = lr_scheduler(self.optimizer) if _is_factory(lr_scheduler) else lr_scheduler

    def apply(self, ascent: Iterable[Tensor], limit: float | None, weight_decay: float) -> dict[str, Tensor]:
        """Moves the weights.

        Args:
            ascent: ΔW of each parameter in order; taken one by one where the update allows it.
            limit: largest norm of ΔW over all parameters, or None.
            weight_decay: decoupled, times the learning rate.

        Returns:
            Norms: of ΔW, of the weights before, and of what the weights moved by.
        """
        apart = [pair for pair in zip(self._model, self._masters, strict=True) if pair[0] is not pair[1]]
        for some in _groups(apart, [model for model, _ in apart]):
            _follow_writes(some)
        before = [master.grad for master in self._masters]
        try:
            for master in self._masters:
                master.grad = None
            norms = self._stream(ascent) if self.plain and limit is None and not weight_decay else None
            return norms or self._together(ascent, limit, weight_decay)
        finally:
            for master, grad in zip(self._masters, before, strict=True):
                master.grad = grad
            if apart:
                torch._foreach_copy_([model.data for model, _ in apart], [master.data for _, master in apart])
            if self.lr_scheduler is not None:
                self.lr_scheduler.step()

    def _stream(self, ascent: Iterable[Tensor]) -> dict[str, Tensor]:
        weights: list[Tensor] = []
        updates: list[Tensor] = []
        lr = self.optimizer.param_groups[0]["lr"]
        made = iter(ascent)
        for masters in _groups(self._masters, self._masters):
            steps = [next(made) for _ in masters]
            weights += torch._foreach_norm([master.detach() for master in masters])
            updates += torch._foreach_norm(steps)
            torch._foreach_neg_(steps)
            for master, update in zip(masters, steps, strict=True):
                master.grad = update.to(master.dtype)
            self.optimizer.step()
            for master in masters:
                master.grad = None
            del steps
        norm = _total(updates)
        return {"update_norm": norm, "weight_norm": _total(weights), "moved_norm": norm * lr}

    def _together(self, ascent: Iterable[Tensor], limit: float | None, weight_decay: float) -> dict[str, Tensor]:
        updates = list(ascent)
        norm = _total([_norm(update) for update in updates])
        if limit is not None:
            factor = (limit / norm.clamp(min=torch.finfo(norm.dtype).tiny)).clamp(max=1)
            updates = [update.mul_(factor.to(update.dtype)) for update in updates]
        start = [master.detach().clone() for master in self._masters]
        for master, update in zip(self._masters, updates, strict=True):
            master.grad = update.neg_().to(master.dtype)
        if weight_decay:
            self._decay(weight_decay)
        self.optimizer.step()
        moved = [_norm(m.detach() - s) for m, s in zip(self._masters, start, strict=True)]
        weight = _total([_norm(s) for s in start])
        return {"update_norm": norm, "weight_norm": weight, "moved_norm": _total(moved)}

    @torch.no_grad()
    def _decay(self, weight_decay: float) -> None:
        ours = {id(master) for master in self._masters}
        for group in self.optimizer.param_groups:
            for p in group["params"]:
                if id(p) in ours:
                    p.mul_(1 - group["lr"] * weight_decay)

    def state_dict(self) -> dict[str, Any]:
        """Returns the optimizer's and the scheduler's state, and the masters that are not the model's own weights."""
        scheduler = self.lr_scheduler
        return {
            "optimizer": self.optimizer.state_dict(),
            "lr_scheduler": None if scheduler is None else scheduler.state_dict(),
            "masters": [
                None if master is model else master.detach().clone()
                for model, master in zip(self._model, self._masters, strict=True)
            ],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes a state over."""
        self.optimizer.load_state_dict(state["optimizer"])
        if self.lr_scheduler is not None and state["lr_scheduler"] is not None:
            self.lr_scheduler.load_state_dict(state["lr_scheduler"])
        for master, saved in zip(self._masters, state["masters"], strict=True):
            if saved is not None:
                master.data.copy_(saved)


def _groups(items: Sequence[_Item], tensors: Sequence[Tensor]) -> Iterator[list[_Item]]:
    """Splits items into runs whose tensors are of one dtype and together no larger than the largest.

    On other devices than the CPU a run may have as many numbers as keep the device busy for long.

    Args:
        items: in order.
        tensors: one for each.
    """
    room = max((tensor.numel() for tensor in tensors), default=0)
    chosen: list[_Item] = []
    taken, kind = 0, None
    for item, tensor in zip(items, tensors, strict=True):
        most = room if tensor.device.type == "cpu" else max(room, _LARGE)
        if chosen and ((tensor.dtype, tensor.device) != kind or taken + tensor.numel() > most):
            yield chosen
            chosen, taken = [], 0
        chosen.append(item)
        taken, kind = taken + tensor.numel(), (tensor.dtype, tensor.device)
    if chosen:
        yield chosen


def _follow_writes(pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Takes over what others wrote to weights: a master whose weight is not the rounded master follows the weight.

    Args:
        pairs: weights of one dtype, each with its master.
    """
    weights, masters = (_flat([pair[at].detach() for pair in pairs]) for at in (0, 1))
    followed = torch.where(masters.to(weights.dtype) == weights, masters, weights.to(masters.dtype))
    parts = torch.split(followed, [master.numel() for _, master in pairs])
    shaped = [part.view(master.shape) for part, (_, master) in zip(parts, pairs, strict=True)]
    torch._foreach_copy_([master.data for _, master in pairs], shaped)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0].reshape(-1) if len(tensors) == 1 else torch.cat([tensor.reshape(-1) for tensor in tensors])


def _total(norms: list[Tensor]) -> Tensor:
    return _norm(torch.stack(norms).double())


def _master(parameter: nn.Parameter) -> nn.Parameter:
    if parameter.dtype in (torch.float32, torch.float64):
        return parameter
    return nn.Parameter(parameter.detach().to(torch.float32))


def _made(optimizer: Any, masters: list[nn.Parameter], lr: float) -> Optimizer:
    if optimizer is None:
        return SGD(masters, lr=lr)
    if not callable(optimizer):
        raise TypeError(
            f"optimizer must be an optimizer, its class, or a function of the parameters, got {optimizer!r}"
        )
    is_class = isinstance(optimizer, type) and issubclass(optimizer, Optimizer)
    make = cast("Callable[..., object]", optimizer)
    made = make(masters, lr=lr) if is_class else make(masters)
    if not isinstance(made, Optimizer):
        raise TypeError(f"optimizer(parameters) must give a torch.optim.Optimizer, got {made!r}")
    return made


def _is_factory(scheduler: Any) -> bool:
    return (callable(scheduler) and not hasattr(scheduler, "step")) or isinstance(scheduler, type)
