"""Settings: every documented interval is enforced, and ``repr`` shows what is in force."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import Parameter

from testkit.case import Case
from testkit.checks._check import check, expect
from testkit.intervals import probes
from testkit.problems import initial
from testkit.sameness import difference


def _parameters() -> list[Parameter]:
    return [initial((2,)), initial((3,), 1)]


class _Setting:
    """One documented setting, such as ``lr`` or ``betas[0]``, and how to try a value for it."""

    def __init__(self, case: Case, name: str) -> None:
        self.case = case
        self.name, _, index = name.rstrip("]").partition("[")
        self.index = int(index) if index else None
        group = case.make(_parameters()).param_groups[0]
        self.of_groups = self.name in group
        self.current: Any = group[self.name] if self.of_groups else case.settings.get(self.name)

    def holding(self, value: Any) -> dict[str, Any]:
        """Returns the setting with ``value`` in its place."""
        if self.index is None:
            return {self.name: value}
        entries: list[Any] = list(self.current)
        entries[self.index] = value
        return {self.name: tuple(entries)}

    def ways(self) -> dict[str, Callable[[Any], object]]:
        """Returns each way of passing a value: as a default, in the first groups, and in a group added later."""
        ways: dict[str, Callable[[Any], object]] = {}
        if not self.of_groups or isinstance(self.case.factory, type):
            ways["as a default"] = lambda value: self.case.make(_parameters(), **self.holding(value))
        if self.of_groups:
            ways["in a group"] = lambda value: self.case.make([{"params": _parameters(), **self.holding(value)}])
        if self.of_groups and not self.case.contract.one_group:
            ways["in a group added later"] = self._added
        return ways

    def _added(self, value: Any) -> None:
        optimizer = self.case.make(_parameters())
        before = [{**group, "params": list(group["params"])} for group in optimizer.param_groups]
        try:
            optimizer.add_param_group({"params": [initial((2,), 2)], **self.holding(value)})
        except (ValueError, TypeError):
            now = [{**group, "params": list(group["params"])} for group in optimizer.param_groups]
            where = difference(now, before, "param_groups")
            expect(not where, f"{self.name}={value!r} to be refused before anything is written", where)
            raise


@check
def documented_intervals_are_enforced(case: Case) -> None:
    """Each setting is accepted up to the ends of its interval and refused beyond, at NaN and at infinity, by name."""
    for name, interval in case.contract.intervals.items():
        setting = _Setting(case, name)
        for value, inside in probes(interval, integer=name in case.contract.integers):
            for way, attempt in setting.ways().items():
                _try(f"{name}={value!r} {way}", setting.name, interval, inside, partial(attempt, value))


def _try(what: str, name: str, interval: str, inside: bool, attempt: Callable[[], object]) -> None:
    try:
        attempt()
    except (ValueError, TypeError, OverflowError) as error:
        expect(not inside, f"{what} to be accepted, being in {interval}", f"{type(error).__name__}: {error}")
        expect(name in str(error), f"the refusal of {what} to name {name}", f"it says: {error}")
    else:
        expect(inside, f"{what} to be refused, not being in {interval}", "it was accepted")


@check
def repr_shows_every_setting(case: Case) -> None:
    """``repr`` names every setting of the groups and of the case, with the value in force, also after an edit."""
    optimizer = case.make(_parameters())
    group = optimizer.param_groups[0]
    if "lr" in group and not isinstance(group["lr"], torch.Tensor):
        group["lr"] = 0.0123
    text = repr(optimizer)
    names = {*group, *case.settings, *case.contract.shows} - {"params", "param_names"}
    for name in sorted(names):
        expect(re.search(rf"\b{re.escape(name)}\b", text) is not None, f"repr to name {name}", f"it is {text!r}")
        value = group.get(name, case.settings.get(name))
        if isinstance(value, int | float | str):
            shown = str(value) in text
            expect(shown, f"repr to show {name} = {value}", f"it is {text!r}")
