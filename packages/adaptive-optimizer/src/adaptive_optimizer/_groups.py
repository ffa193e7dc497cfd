"""The location of each knob in a parameter group, and the adapted values in groups during one step.

The same key has different meanings in different optimizers. ``betas[0]`` is the momentum of bitsandbytes' SGD and LARS
and the alpha of its RMSprop; the ``betas`` of its Adagrad have no effect. ``alpha`` of ASGD and of bitsandbytes' Adam
family is not a smoothing constant and is not adapted, nor is the third beta of AdEMAMix. Transformers' Adafactor calls
its momentum ``beta1``. Groups of one optimizer may differ (Muon beside AdamW), so each is inspected separately.
"""

import warnings
from collections.abc import Mapping, Sequence
from math import inf
from operator import is_
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.optim import SGD, Optimizer, RMSprop

from adaptive_optimizer._controller import Controller
from adaptive_optimizer._horizon import LIMITS, Horizon, coefficient, compensation, movable

Group = dict[str, Any]


class KnobLocation(NamedTuple):
    """Where a parameter group keeps a knob: under ``key``, or in that tuple's item ``item``."""

    key: str
    item: int | None = None

    def get(self, group: Mapping[str, Any]) -> Any:
        """Returns the knob's value in ``group``; None where it is not there."""
        value = group.get(self.key)
        return value if self.item is None or value is None else value[self.item]

    def replaced(self, held: Any, value: float) -> Any:
        """Returns ``held`` with the knob at ``value``; tuples are never changed in place."""
        if self.item is None:
            return value
        return type(held)((*held[: self.item], value, *held[self.item + 1 :]))


Knobs = dict[str, KnobLocation]


def knobs_of(optimizer: Optimizer, group: Group) -> Knobs:
    """Returns the knobs that ``group`` has, among lr, wd, momentum, betas, beta1, beta2 and alpha."""
    candidates = {"lr": KnobLocation("lr"), "wd": KnobLocation("weight_decay"), **_averages(optimizer, group)}
    # The lr of an Adafactor that paces itself is None: a knob that is there and does nothing.
    return {k: at for k, at in candidates.items() if at.key in group and (k == "lr" or at.get(group) is not None)}


def _averages(optimizer: Optimizer, group: Group) -> Knobs:
    kernel = getattr(optimizer, "optimizer_name", None)  # bitsandbytes' word for what it runs
    first = KnobLocation("betas", 0)
    if type(kernel) is str and "betas" in group and kernel in ("momentum", "lars", "rmsprop", "adagrad"):
        return {} if kernel == "adagrad" else {"alpha" if kernel == "rmsprop" else "momentum": first}
    found = {"momentum": KnobLocation("momentum" if "momentum" in group else "beta1")}
    betas: Any = group.get("betas")
    if isinstance(betas, tuple | list) and len(cast(Sequence[Any], betas)) >= 2:
        found |= {"betas": KnobLocation("betas"), "beta1": first, "beta2": KnobLocation("betas", 1)}
    if any(each.__name__.startswith("RMSprop") for each in type(optimizer).__mro__):
        found["alpha"] = KnobLocation("alpha")
    return found


def lr_is_inert(group: Mapping[str, Any]) -> bool:
    """Returns whether the optimizer ignores this group's lr, as Transformers' Adafactor with ``relative_step=True``."""
    return group.get("lr") is None or bool(group.get("relative_step", False))


def is_heavy_ball(optimizer: Optimizer, group: Group) -> bool:
    """Returns whether momentum adds gradients up, so that a longer memory makes larger steps, or averages them."""
    accumulates = getattr(optimizer, "optimizer_name", None) in ("momentum", "lars")
    return accumulates or isinstance(optimizer, SGD | RMSprop) or "dampening" in group


class MovedGroup(NamedTuple):
    """A parameter group, and where the knobs are that rules move in it."""

    group: Group
    knobs: Knobs  # all that the group has
    averages: list[tuple[KnobLocation, Horizon, bool]]  # and whether the lr makes up for what the knob does
    decays: bool


class GroupWriter:
    """The knobs of one optimizer: base values outside a step, effective values inside it."""

    def __init__(self, optimizer: Optimizer, controller: Controller, moved: set[str]) -> None:
        settings = controller.settings
        self.optimizer = optimizer
        self.moved = moved
        self.used: list[dict[str, Any]] = []  # what each group held in the last step; empty once a new signal has come
        self._controller = controller
        self._averages = [knob for knob in LIMITS if knob in moved]
        self._moves_lr = "lr" in moved
        self._compensates = settings.compensate_lr and "momentum" in moved
        self._limits = (settings.min_lr, settings.max_lr)
        self._has_lr_limits = self._limits != (0, inf)
        self._swapped: list[tuple[Group, str, Any, Any]] = []  # base values, and the effective ones in their place
        self._filled: list[tuple[Group, str, Tensor, Tensor, int]] = []  # base values of tensors filled in place
        self._known: list[Group] = []
        self._located: list[MovedGroup] = []
        for group in optimizer.param_groups:
            self.check(group)

    def check(self, group: Group) -> None:
        """Refuses a group that holds a moved knob as a tensor.

        Raises:
            TypeError: a rule moves a knob that the group keeps as a tensor.
        """
        for knob, location in knobs_of(self.optimizer, group).items():
            if knob in self.moved and knob != "lr" and isinstance(location.get(group), Tensor):
                raise TypeError(
                    f"{location.key} must be made of numbers for its rule to move it, got a tensor; "
                    f"pass floats, or no rule for {knob}"
                )

    def warn(self) -> None:
        """Warns once of rules that move nothing, and of values that cost a compilation each."""
        groups = self.optimizer.param_groups
        inert = ["lr"] if "lr" in self.moved and all(map(lr_is_inert, groups)) else []
        inert += [knob for knob, bases in self.bases().items() if not any(map(movable, bases))]
        name = type(self.optimizer).__name__
        if inert:
            _warn(
                f"the rule for {', '.join(inert)} has no effect now: {name} does not use it with its present settings"
            )
        compiled = sorted(self.moved - {"lr"})
        if compiled and any(each.__module__.startswith("torchao.") for each in type(self.optimizer).__mro__):
            _warn(f"{name} compiles its step again for each new value of {', '.join(compiled)}; steer only its lr")

    def bases(self) -> dict[str, list[float | None]]:
        """Returns, for each average that a rule moves, its base value in each group."""
        bases: dict[str, list[float | None]] = {knob: [] for knob in self._averages}
        for each in self._groups() if bases else ():
            for knob, values in bases.items():
                values.append(each.knobs[knob].get(each.group) if knob in each.knobs else None)
        return bases

    def no_rate(self) -> bool:
        """Returns whether every base lr is 0; a tensor on another device counts as a rate and is not read."""
        for group in self.optimizer.param_groups:
            lr = group.get("lr")
            if lr is None or (isinstance(lr, Tensor) and lr.device.type != "cpu") or lr != 0:
                return False
        return True

    def write(self) -> None:
        """Writes the effective values into every group, computed from its present base values."""
        self.used = self._values() if self.moved else []
        for moved, values in zip(self._located, self.used, strict=False):
            group = moved.group
            for key, value in values.items():
                held = group[key]
                if isinstance(held, Tensor):
                    self._fill(group, key, held, value)
                else:
                    self._swapped.append((group, key, held, value))
                    group[key] = value

    def restore(self) -> None:
        """Restores the base values of every group; a value that other code has written meanwhile is the new base."""
        for group, key, base, effective in self._swapped:
            if group[key] is effective:
                group[key] = base
        for group, key, base, filled, version in self._filled:
            if group[key] is filled and filled._version == version:
                filled.detach().copy_(base)
        self._swapped.clear()
        self._filled.clear()

    def effective(self, knob: str) -> list[Any]:
        """Returns each group's value of the step to come, or, without a new signal, of the last step."""
        values = self.used or self._values()
        return [
            _number(at[knob].get({**group, **(values[index] if index < len(values) else {})})) if knob in at else None
            for index, (group, at, *_) in enumerate(self._groups())
        ]

    def base_lrs(self) -> list[Any]:
        """Returns the lr of each group without any factor."""
        return [_number(group.get("lr")) for group in self.optimizer.param_groups]

    def logged_lr(self) -> float | None:
        """Returns the lr that group 0 used; None where it is a tensor, which only a wait for its device would tell."""
        lr = (self.used[0] if self.used else {}).get("lr", self.optimizer.param_groups[0].get("lr"))
        return None if isinstance(lr, Tensor) else lr

    def _fill(self, group: Group, key: str, held: Tensor, value: Tensor) -> None:
        """Fills a tensor in place: compiled and capturable optimizers know it by its identity, and groups share it."""
        if not any(filled is held for *_, filled, _ in self._filled):
            base = held.detach().clone()
            held.detach().copy_(value)
            self._filled.append((group, key, base, held, held._version))

    def _groups(self) -> list[MovedGroup]:
        groups = self.optimizer.param_groups
        if len(groups) != len(self._known) or not all(map(is_, groups, self._known)):
            self._known = list(groups)
            self._located = [self._locate(group) for group in groups]
        return self._located

    def _locate(self, group: Group) -> MovedGroup:
        at = knobs_of(self.optimizer, group)
        heavy_ball = self._compensates and is_heavy_ball(self.optimizer, group)
        horizons = self._controller.horizons
        averages = [
            (at[knob], horizons[knob], heavy_ball and knob == "momentum") for knob in self._averages if knob in at
        ]
        return MovedGroup(group, at, averages, "wd" in self.moved and "wd" in at)

    def _values(self) -> list[dict[str, Any]]:
        lr_factor, wd_factor = self._controller.lr_factor, self._controller.wd_factor
        return [self._values_of(each, lr_factor, wd_factor) for each in self._groups()]

    def _values_of(self, moved: MovedGroup, lr_factor: float, wd_factor: float) -> dict[str, Any]:
        group, _, averages, decays = moved
        values: dict[str, Any] = {}
        moves_lr = self._moves_lr
        for location, horizon, compensated in averages:
            mu0: float | None = location.get(group)
            if movable(mu0):
                key = location.key
                mu = coefficient(mu0, horizon.factor, horizon.limits)
                values[key] = location.replaced(values.get(key, group[key]), mu)  # two betas share a key
                if compensated:
                    lr_factor *= compensation(mu, mu0)
                    moves_lr = True
        if decays:
            values["weight_decay"] = group["weight_decay"] * wd_factor
        if moves_lr and not lr_is_inert(group):
            values["lr"] = self._within(group["lr"], group["lr"] * lr_factor)
        return values

    def _within(self, base: Any, lr: Any) -> Any:
        if not self._has_lr_limits:
            return lr
        low, high = self._limits
        if isinstance(lr, Tensor):
            return torch.where(base == 0, base, lr.clamp(low, high))
        return min(max(lr, low), high) if base else base  # a group at rest stays at rest


def _number(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return tuple(map(_number, cast(Sequence[Any], value)))
    return value.item() if isinstance(value, Tensor) else value


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=4)
