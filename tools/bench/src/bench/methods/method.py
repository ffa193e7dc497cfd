"""A method's entry in the table: its origin, tuned hyper-parameters and defaults."""

import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

from bench.methods.driver import Driver, EvolutionDriver
from bench.records.models import Family, Value

Params = Mapping[str, Value]


@dataclass(frozen=True)
class Setting:
    """What a method may know about the run: its length, and the seed of its own noise."""

    steps: int
    seed: int


CONSTANT, COSINE, LINEAR = "constant", "cosine", "linear"
SCHEDULES = (CONSTANT, COSINE, LINEAR)


@dataclass(frozen=True)
class Box:
    """What is searched: the learning rate on a log scale, one or two knobs, the schedule.

    Raises:
        ValueError: the learning rates span less than 2.5 decades, or the recommendation lies outside the box.
    """

    lr: tuple[float, float]
    recommended: Mapping[str, Value]  # what the method's documentation says to start with
    knobs: Mapping[str, tuple[Value, ...]] = field(default_factory=dict[str, tuple[Value, ...]])
    schedules: tuple[str, ...] = SCHEDULES
    fixed: Mapping[str, Value] = field(default_factory=dict[str, Value])  # the same at every point
    most_knobs = 2  # the sequence has as many dimensions for everyone

    def __post_init__(self) -> None:
        """Refuses a box that would not be fair."""
        low, high = self.lr
        if high / low < 10**2.5 * 0.999:
            raise ValueError(f"the learning rates of a box must span at least 2.5 decades, got {low} to {high}")
        if not low <= float(self.recommended["lr"]) <= high:
            raise ValueError(f"the recommended lr must lie in the box {self.lr}, got {self.recommended['lr']}")


@dataclass(frozen=True)
class Method:
    """One method; every method is searched with the same number of points."""

    id: str
    title: str
    package: str
    family: Family
    make: Callable[[nn.Module, Params, Setting], Driver | EvolutionDriver]
    box: Box
    ours: bool = False
    controls: bool = False  # whether it decides, and so must show its decisions
    reward_box: Box | None = None  # instead of ``box`` where the task pays a reward
    needs: str = ""  # what must be there for it to take part: a module, or an environment variable in capitals
    ablates: str = ""  # the method that it is a form of: searched nowhere, it takes part where that one does
    follows: str = ""  # an ablation: whose chosen setting it runs with, if not that of ``ablates``
    at_rates: bool = False  # an ablation: whether it shows its robustness too
    instead: Mapping[str, Value] = field(default_factory=dict[str, Value])  # an ablation: what it changes there

    @property
    def setting_of(self) -> str:
        """Returns the method whose chosen setting it runs with; empty for one that is searched."""
        return self.follows or self.ablates

    @property
    def available(self) -> bool:
        """Returns whether it can take part here."""
        if self.needs.isupper():
            return self.needs in os.environ
        return not self.needs or importlib.util.find_spec(self.needs) is not None
