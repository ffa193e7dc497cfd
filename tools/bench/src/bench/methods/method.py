"""A method's entry in the table: where it comes from, what is tuned, what its defaults are."""

import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from bench.methods.driver import Driver, EvolutionDriver
from bench.records.models import Family, Value

Params = Mapping[str, Value]


@dataclass(frozen=True)
class Setting:
    """What a method may know about the run: its length, and the seed of its own noise."""

    steps: int
    seed: int


@dataclass(frozen=True)
class Method:
    """One method.

    The search space is a grid of learning rates and, in the longer profiles, two values of one further knob; the first
    of the two is the value of the shorter profiles. Every method has the same number of trials.
    """

    id: str
    title: str
    package: str
    family: Family
    make: Callable[[nn.Module, Params, Setting], Driver | EvolutionDriver]
    grid: tuple[float, ...]  # of lr, ascending, four values
    knob: tuple[str, Value, Value]
    untuned: Mapping[str, Value]  # what a user gets who tunes nothing
    ours: bool = False
    cosine: bool = True  # whether "+cosine" makes sense
    controls: bool = False  # whether it decides, and so must show its decisions
    reward_knob: tuple[str, Value, Value] | None = None  # instead of ``knob`` where the task pays a reward
    needs: str = ""  # what must be there for it to take part: a module, or an environment variable in capitals

    def trials(self, count: int, rewards: bool = False, lr_factor: float = 1.0) -> list[dict[str, Value]]:
        """The first ``count`` settings of the search space: the grid, then the grid with the knob's other value.

        ``lr_factor`` scales the grid: a workload on which everyone's learning rates are smaller says so.

        Raises:
            ValueError: the space has fewer.
        """
        name, *values = self._knob(rewards)
        grid = [float(f"{lr * lr_factor:.3g}") for lr in self.grid]
        if count == 1:  # a smoke test needs a sane setting, not the grid's end
            return [{"lr": grid[1], name: values[0]}]
        space = [{"lr": lr, name: value} for value in values for lr in grid]
        if count > len(space):
            raise ValueError(f"at most {len(space)} trials per method are declared, got {count}")
        return [dict(setting) for setting in space[:count]]

    def untuned_setting(self, rewards: bool = False) -> dict[str, Value]:
        """The defaults, with the knob at its first value unless they name it."""
        name, value, _ = self._knob(rewards)
        return {name: value, **self.untuned}

    @property
    def available(self) -> bool:
        """Whether it can take part here."""
        if self.needs.isupper():
            return self.needs in os.environ
        return not self.needs or importlib.util.find_spec(self.needs) is not None

    def _knob(self, rewards: bool) -> tuple[str, Value, Value]:
        return self.reward_knob if rewards and self.reward_knob is not None else self.knob


def split_entry(entry: str) -> tuple[str, bool]:
    """``"adamw+cosine"`` is AdamW under the common warm-up and cosine."""
    name, _, schedule = entry.partition("+")
    return name, schedule == "cosine"
