"""Writes what the controller decided into the parameter groups, and takes it back."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from operator import is_
from typing import Any, NamedTuple, cast

from torch import Tensor
from torch.optim import SGD, Optimizer, RMSprop

from adaptive_optimizer._controller import Controller
from adaptive_optimizer._horizon import LIMITS, coefficient, compensation, movable

Group = dict[str, Any]


class Place(NamedTuple):
    """Where a parameter group keeps a knob: under ``key``, or in that tuple's entry ``entry``."""

    key: str
    entry: int | None = None

    def get(self, group: Mapping[str, Any]) -> Any:
        """The knob's value in ``group``; None where it is not there."""
        key, entry = self
        value = group.get(key)
        return value if entry is None or value is None else value[entry]

    def replaced(self, held: Any, value: float) -> Any:
        """What the group must hold instead of ``held`` for the knob to be ``value``; tuples are never changed."""
        entry = self.entry
        if entry is None:
            return value
        return type(held)((*held[:entry], value, *held[entry + 1 :]))


def places(optimizer: Optimizer) -> dict[str, Place]:
    """The knobs that ``optimizer`` has, among lr, wd, momentum, beta1, beta2 and alpha."""
    candidates = {"lr": Place("lr"), "wd": Place("weight_decay"), **_averages(optimizer)}
    groups = optimizer.param_groups

    def is_there(knob: str, place: Place) -> bool:
        # Adafactor's lr is None while it paces itself: a knob that is there and does nothing.
        return any(place.key in group and (knob == "lr" or place.get(group) is not None) for group in groups)

    return {knob: place for knob, place in candidates.items() if is_there(knob, place)}


def _averages(optimizer: Optimizer) -> dict[str, Place]:
    kind = getattr(optimizer, "optimizer_name", None)  # bitsandbytes' word for its kernels
    first, group = Place("betas", 0), optimizer.param_groups[0]
    if type(kind) is str and "betas" in group:
        if kind in ("momentum", "lars"):
            return {"momentum": first}
        if kind == "rmsprop":
            return {"alpha": first}
        if kind == "adagrad":
            return {}
    found: dict[str, Place] = {}
    if "momentum" in group:
        found["momentum"] = Place("momentum")
    elif "beta1" in group:
        found["momentum"] = Place("beta1")
    betas: Any = group.get("betas")
    if isinstance(betas, tuple | list) and len(cast(Sequence[Any], betas)) >= 2:
        found |= {"beta1": first, "beta2": Place("betas", 1)}
    if "alpha" in group and any(each.__name__.startswith("RMSprop") for each in type(optimizer).__mro__):
        found["alpha"] = Place("alpha")
    return found


def lr_is_inert(group: Mapping[str, Any]) -> bool:
    """Whether the optimizer ignores this group's lr, as Transformers' Adafactor does with ``relative_step=True``."""
    return group.get("lr") is None or bool(group.get("relative_step", False))


def recompiles(optimizer: Optimizer) -> bool:
    """Whether every new value of betas or weight decay costs a compilation, of seconds: torchao's step is compiled."""
    return any(each.__module__.startswith("torchao.") for each in type(optimizer).__mro__)


def is_heavy_ball(optimizer: Optimizer) -> bool:
    """Whether momentum adds gradients up, so that a longer memory makes larger steps, instead of averaging them."""
    accumulates = getattr(optimizer, "optimizer_name", None) in ("momentum", "lars")
    return accumulates or isinstance(optimizer, SGD | RMSprop) or "dampening" in optimizer.param_groups[0]


def check_numbers(groups: Iterable[Group], knobs: Mapping[str, Place]) -> None:
    """Refuse a knob that is neither a number nor, for lr, a tensor.

    Raises:
        TypeError: a rule moves a knob that a group keeps as a tensor.
    """
    for group in groups:
        for knob, place in knobs.items():
            if knob != "lr" and isinstance(place.get(group), Tensor):
                raise TypeError(
                    f"{place.key} must be made of numbers for its rule to move it, got a tensor; "
                    f"pass floats, or no rule for {knob}"
                )


class Transient:
    """What was lent to the groups, and how to take it back."""

    def __init__(self) -> None:
        self._undo: list[tuple[Group, str, Any, Any]] = []

    def __bool__(self) -> bool:
        return bool(self._undo)

    def put(self, group: Group, key: str, value: Any) -> None:
        """Lend ``value`` to ``group[key]``."""
        self._undo.append((group, key, group[key], value))
        group[key] = value

    def fill(self, group: Group, key: str, change: Callable[[Tensor], Any]) -> Tensor:
        """Let ``change`` write into the tensor ``group[key]``; returns a copy of what it then holds."""
        tensor: Tensor = group[key]
        base = tensor.detach().clone()
        change(tensor.detach())
        self._undo.append((group, key, base, (tensor, tensor._version)))
        return tensor.detach().clone()

    def is_intact(self) -> bool:
        """Whether everything lent is still where it was put."""
        return all(_untouched(group[key], base, lent) for group, key, base, lent in self._undo)

    def take_back(self) -> None:
        """Give every group its base values back; what someone else has written meanwhile is a new base and stays."""
        while self._undo:
            group, key, base, lent = self._undo.pop()
            if not _untouched(group[key], base, lent):
                continue
            if isinstance(base, Tensor):
                group[key].detach().copy_(base)
            else:
                group[key] = base

    def base(self, group: Group, key: str) -> Any:
        """The base value of ``group[key]``, also while another is lent."""
        for lent_to, name, base, lent in self._undo:
            if lent_to is group and name == key:
                return base if _untouched(group[key], base, lent) else group[key]
        return group[key]


def _untouched(held: Any, base: Any, lent: Any) -> bool:
    """Whether the group holds what it was lent: that object, or the same tensor in the state it was left in."""
    if isinstance(base, Tensor):
        tensor, version = lent
        return held is tensor and held._version == version
    return held is lent


class Actuator:
    """One optimizer's knobs: their base values, the values in use, and those used last."""

    def __init__(
        self, optimizer: Optimizer, controller: Controller, places: Mapping[str, Place], moved: set[str]
    ) -> None:
        self.optimizer = optimizer
        self.controller = controller
        self.places = places
        self.moved = {knob: places[knob] for knob in sorted(moved)}
        settings = controller.settings
        self._compensates = settings.compensate_lr and "momentum" in self.moved and is_heavy_ball(optimizer)
        self._lr_moves = "lr" in self.moved or (self._compensates and "lr" in self.places)
        self._has_lr_limits = settings.min_lr > 0 or settings.max_lr < inf
        self._averages = [(knob, place) for knob, place in self.moved.items() if knob in LIMITS]
        self._transient = Transient()
        self._groups: list[Group] = []  # those that hold lent values
        self.used: list[dict[str, Any]] = []
        self.check(optimizer.param_groups)

    def check(self, groups: Iterable[Group]) -> None:
        """Refuse groups whose moved knobs are no numbers."""
        check_numbers(groups, self.moved)

    def apply(self) -> None:
        """Let every group hold its effective values, computed from its base values of this moment."""
        self._transient.take_back()
        if not self.moved:
            return
        lr_factor, wd_factor = self.controller.lr_factor, self.controller.wd_factor
        self._groups = list(self.optimizer.param_groups)
        self.used = [self._apply(group, lr_factor, wd_factor) for group in self._groups]

    def ensure(self) -> None:
        """Before a step: ``apply``, unless the groups still hold what the newest signal had written there."""
        groups = self.optimizer.param_groups
        same = len(groups) == len(self._groups) and all(map(is_, groups, self._groups))
        if not (same and self._transient and self._transient.is_intact()):
            self.controller.tick()
            self.apply()

    def restore(self) -> None:
        """Let every group hold its base values again."""
        self._transient.take_back()

    @property
    def applied(self) -> bool:
        """Whether groups hold effective values now."""
        return bool(self._transient)

    def bases(self) -> dict[str, list[float | None]]:
        """Base values of the averages that rules move, group by group; after ``restore``."""
        groups = self.optimizer.param_groups
        return {knob: [place.get(group) for group in groups] for knob, place in self._averages}

    def warn(self) -> None:
        """Say once what will not go as expected: rules that move nothing, values that cost a compilation each."""
        groups = self.optimizer.param_groups
        inert = ["lr"] if "lr" in self.moved and all(map(lr_is_inert, groups)) else []
        inert += [k for k, place in self._averages if not any(movable(place.get(group)) for group in groups)]
        name = type(self.optimizer).__name__
        if inert:
            _warn(
                f"the rule for {', '.join(inert)} has no effect now: {name} does not use it with its present settings"
            )
        compiled = sorted(self.moved.keys() - {"lr"})
        if compiled and recompiles(self.optimizer):
            _warn(f"{name} compiles its step again for each new value of {', '.join(compiled)}; steer only its lr")

    def logged_lr(self) -> float | None:
        """The lr of group 0 that was used; None where it is a tensor, which only a wait for its device would tell."""
        lr = self._last(self.places["lr"], 0, self.optimizer.param_groups[0]) if "lr" in self.places else None
        return None if isinstance(lr, Tensor) else lr

    def effective(self, knob: str) -> list[Any]:
        """The value last used, for each group; the group's own where no rule has moved it yet."""
        place = self.places.get(knob)
        if place is None:
            return [None] * len(self.optimizer.param_groups)
        return [self._number(self._last(place, i, group)) for i, group in enumerate(self.optimizer.param_groups)]

    def effective_betas(self) -> list[tuple[float, ...] | None]:
        """The betas last used, for each group."""
        if "beta1" not in self.places:
            return [None] * len(self.optimizer.param_groups)
        place = Place("betas")
        groups = enumerate(self.optimizer.param_groups)
        return [tuple(map(self._number, self._last(place, i, group))) for i, group in groups]

    def base(self, knob: str) -> list[Any]:
        """The base value, for each group."""
        place = self.places.get(knob)
        if place is None:
            return [None] * len(self.optimizer.param_groups)
        return [self._number(self._base(place, group)) for group in self.optimizer.param_groups]

    def _apply(self, group: Group, lr_factor: float, wd_factor: float) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for knob, place in self._averages:
            mu0 = place.get(group)
            if movable(mu0):
                mu = coefficient(mu0, self.controller.horizons[knob].used, LIMITS[knob])
                key = place.key
                values[key] = place.replaced(values[key] if key in values else group[key], mu)
                if self._compensates and knob == "momentum":
                    lr_factor *= compensation(mu, mu0)
        if "wd" in self.moved:
            values["weight_decay"] = group["weight_decay"] * wd_factor
        if self._lr_moves and not lr_is_inert(group):
            lr = group["lr"]
            if isinstance(lr, Tensor):
                return self._lend(group, values) | {"lr": self._fill(group, lr_factor)}
            values["lr"] = self._within(lr * lr_factor)
        return self._lend(group, values)

    def _lend(self, group: Group, values: dict[str, Any]) -> dict[str, Any]:
        for key, value in values.items():
            self._transient.put(group, key, value)
        return values

    def _fill(self, group: Group, lr_factor: float) -> Tensor:
        def change(lr: Tensor) -> None:
            lr.mul_(lr_factor)
            if self._has_lr_limits:
                lr.clamp_(self.controller.settings.min_lr, self.controller.settings.max_lr)

        return self._transient.fill(group, "lr", change)

    def _within(self, lr: float) -> float:
        settings = self.controller.settings
        return min(max(lr, settings.min_lr), settings.max_lr) if self._has_lr_limits else lr

    def _base(self, place: Place, group: Group) -> Any:
        return place.get({place.key: self._transient.base(group, place.key)}) if place.key in group else None

    def _last(self, place: Place, index: int, group: Group) -> Any:
        used = self.used[index] if index < len(self.used) else {}
        return place.get(used if place.key in used else group)

    @staticmethod
    def _number(value: Any) -> Any:
        return value.item() if isinstance(value, Tensor) else value


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=4)
