"""Writes what the controller decided into the parameter groups, and takes it back."""

import warnings
from collections.abc import Iterable, Mapping
from math import inf
from operator import is_
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from adaptive_optimizer._controller import Controller
from adaptive_optimizer._horizon import LIMITS, coefficient, compensation, movable
from adaptive_optimizer._knobs import Group, Place, check_numbers, is_heavy_ball, lr_is_inert, recompiles
from adaptive_optimizer._transient import Transient


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
