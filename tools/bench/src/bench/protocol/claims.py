"""The claim of each of our methods, written before the final seeds run, and the workload that tests it.

A claim that fails on two complete sets of records is withdrawn from its README.
"""

from dataclasses import dataclass
from typing import Literal

from bench.records.models import Family

Kind = Literal["better", "not worse", "not worse and faster", "better at a tenth of the rate", "not worse at any rate"]


@dataclass(frozen=True)
class Claim:
    """One entry against another on one workload."""

    entry: str
    against: str
    workload: str
    kind: Kind
    text: str
    family: Family = "gradient"
    margin: float | None = None  # of a claim of being no worse; None: the workload's

    @property
    def over_rates(self) -> bool:
        """Whether runs at other rates than the chosen one judge it."""
        return self.kind in ("better at a tenth of the rate", "not worse at any rate")


CLAIMS = (
    Claim(
        "thermolion",
        "adamw",
        "diamonds",
        "better",
        "its signal-to-noise gate fits a table of numbers better than AdamW under the best of its schedules",
    ),
    Claim(
        "rangerlite",
        "lookahead-radam",
        "diamonds",
        "not worse",
        "it is Lookahead around RAdam, no worse than the two packages it joins",
    ),
    Claim(
        "aees-adamw",
        "aees-random",
        "mnist5k-noise",
        "better",
        "its bandit chooses better than chance does",
    ),
    Claim(
        "aees-find",
        "adamw",
        "diamonds",
        "better at a tenth of the rate",
        "with a rate ten times too low its search for the rate ends better than AdamW does",
    ),
    Claim(
        "aees-find",
        "adamw",
        "mnist5k-noise",
        "not worse at any rate",
        "from a tenth to ten times AdamW's rate its search for the rate ends within 0.02 of the best AdamW's result",
        margin=0.02,
    ),
    Claim(
        "adaptive-trend",
        "adamw",
        "diamonds",
        "better at a tenth of the rate",
        "with a rate ten times too low its rule trend ends better than AdamW does",
    ),
    Claim(
        "torcheggroll-r4",
        "openai-es",
        "wide-mnist",
        "not worse and faster",
        "noise of rank 4 is no worse than dense noise after as many evaluations, in less CPU time",
        family="es",
    ),
)
