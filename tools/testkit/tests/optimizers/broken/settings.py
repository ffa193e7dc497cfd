"""What becomes of settings: groups, schedules, failures, intervals, repr."""

import math
from typing import Any

import torch

from broken.base import Broken


class UsesItsDefaults(Broken):
    """Takes the learning rate of every group from the defaults."""

    def step(self, closure=None):
        rates = [group["lr"] for group in self.param_groups]
        for group in self.param_groups:
            group["lr"] = self.defaults["lr"]
        loss = super().step(closure)
        for group, rate in zip(self.param_groups, rates, strict=True):
            group["lr"] = rate
        return loss


class ReadsTheGroupsOnce(Broken):
    """Remembers each group's learning rate from when it was set up."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rates = [group["lr"] for group in self.param_groups]

    def step(self, closure=None):
        current = [group["lr"] for group in self.param_groups]
        for group, rate in zip(self.param_groups, self.rates, strict=False):
            group["lr"] = rate
        loss = super().step(closure)
        for group, rate in zip(self.param_groups, current, strict=True):
            group["lr"] = rate
        return loss


class ForgetsNewcomers(Broken):
    """Trains the groups it was born with."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.born_with = list(self.param_groups)

    def step(self, closure=None):
        groups, self.param_groups = self.param_groups, self.born_with
        try:
            return super().step(closure)
        finally:
            self.param_groups = groups


class StartsOverForNewcomers(Broken):
    """Throws the state of all away when a group is added."""

    def add_param_group(self, param_group):
        self.state.clear()
        super().add_param_group(param_group)


class RestoresItsRate(Broken):
    """Puts the learning rate of its first step back after each step, whatever a scheduler says."""

    def step(self, closure=None):
        loss = super().step(closure)
        for group in self.param_groups:
            group["lr"] = group.setdefault("first_lr", group["lr"])
        return loss


class TurnsTensorsToFloats(Broken):
    """Replaces a tensor learning rate by its value."""

    def step(self, closure=None):
        for group in self.param_groups:
            group["lr"] = float(group["lr"])
        return super().step(closure)


class CachesTheTensor(Broken):
    """Runs a tensor learning rate at its first value, though it stays in the group."""

    def step(self, closure=None):
        kept = [group["lr"] for group in self.param_groups]
        for group in self.param_groups:
            if isinstance(group["lr"], torch.Tensor):
                group["lr"] = group.setdefault("first_lr", float(group["lr"]))
        try:
            return super().step(closure)
        finally:
            for group, rate in zip(self.param_groups, kept, strict=True):
                group["lr"] = rate


class LeavesTheRateBehind(Broken):
    """Doubles the learning rate for the step, and does not clean up when the step fails."""

    def step(self, closure=None):
        for group in self.param_groups:
            group["lr"] = 2 * group["lr"]
        loss = super().step(closure)
        for group in self.param_groups:
            group["lr"] = group["lr"] / 2
        return loss


class SwallowsErrors(Broken):
    """Goes on when the closure fails."""

    def step(self, closure=None):
        try:
            return super().step(closure)
        except Exception:
            return None


class ChecksDefaultsOnly(Broken):
    """Refuses a bad learning rate as the default, and takes it from a group."""

    def __init__(self, params, lr=1e-3, **kwargs: Any) -> None:
        if not 0 <= lr < math.inf:
            raise ValueError(f"lr must be in [0, inf), got {lr}")
        super().__init__(params, lr=lr, **kwargs)


class RefusesZero(Broken):
    """Refuses a learning rate of nought, which is documented as fine."""

    def add_param_group(self, param_group):
        rate = {**self.defaults, **param_group}["lr"]
        if not 0 < rate < math.inf:
            raise ValueError(f"lr must be in (0, inf), got {rate}")
        super().add_param_group(param_group)


class AddsThenChecks(Broken):
    """Refuses a bad group when it is in already."""

    def add_param_group(self, param_group):
        super().add_param_group(param_group)
        if not 0 <= self.param_groups[-1]["lr"] < math.inf:
            raise ValueError(f"lr must be in [0, inf), got {self.param_groups[-1]['lr']}")


class RefusesWithoutTheName(Broken):
    """Does not say which setting is wrong."""

    def add_param_group(self, param_group):
        if not 0 <= {**self.defaults, **param_group}["lr"] < math.inf:
            raise ValueError("bad value")
        super().add_param_group(param_group)


class SaysItsName(Broken):
    """Shows no setting."""

    def __repr__(self):
        return type(self).__name__


class ShowsItsDefaults(Broken):
    """Shows the settings it was set up with, not those in force."""

    def __repr__(self):
        return f"ShowsItsDefaults({self.defaults})"
