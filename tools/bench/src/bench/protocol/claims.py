"""The claims of our methods, written before the seeds ran that judge them, and the workloads that test them.

The final runs of a workload judge a claim first. Where a profile has fresh seeds for the workload, they judge it once
more; a claim written after the final runs were read is judged on fresh seeds alone. A claim that fails on two sets of
seeds is withdrawn from its README.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.records.models import Family

Kind = Literal["better", "better after equal CPU time", "not worse", "not worse and faster", "not worse at any rate"]


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
    factor: float = 1.0  # on the chosen rate of either entry
    late: bool = False  # written after the final runs of the workload were read
    failed_before: bool = False  # on final seeds that a new search of the workload has replaced

    @property
    def over_rates(self) -> bool:
        """Whether runs at other rates than the chosen one judge it."""
        return self.factor != 1 or self.kind == "not worse at any rate"

    def factors(self, entry: str, rates: Sequence[float]) -> list[float]:
        """Returns the factors on its chosen rate at which one of the two entries must run.

        Args:
            entry: one of the two.
            rates: the factors of the profile.
        """
        everywhere = self.kind == "not worse at any rate" and entry == self.entry
        return [1.0, *rates] if everywhere else [self.factor]


CLAIMS = (
    Claim(
        "thermolion",
        "adamw",
        "diamonds",
        "better",
        "Its signal-to-noise gate fits a table of numbers better than AdamW under the best of its schedules.",
    ),
    Claim(
        "thermolion",
        "lion",
        "diamonds",
        "better",
        "Its blend of sign and normalised steps fits a table of numbers better than the sign steps of Lion alone.",
        late=True,
    ),
    Claim(
        "rangerlite",
        "lookahead-radam",
        "diamonds",
        "not worse",
        "It is Lookahead around RAdam, no worse than the two packages it joins.",
    ),
    Claim(
        "aees-adamw",
        "aees-random",
        "mnist5k-noise",
        "better",
        "Its bandit chooses better than chance does.",
        failed_before=True,
    ),
    Claim(
        "aees-find",
        "adamw",
        "diamonds",
        "better",
        "With a rate ten times too low, its search for the rate ends better than AdamW.",
        factor=0.1,
    ),
    Claim(
        "aees-find",
        "adamw",
        "diamonds",
        "better",
        "With a rate ten times too high, its search for the rate ends better than AdamW.",
        factor=10.0,
        late=True,
    ),
    Claim(
        "aees-find",
        "adamw",
        "mnist5k",
        "better",
        "With a rate ten times too low, its search for the rate ends better than AdamW.",
        factor=0.1,
    ),
    Claim(
        "aees-find",
        "adamw",
        "mnist5k",
        "not worse at any rate",
        "From a tenth to ten times AdamW's rate, its search for the rate ends within 0.02 of the best AdamW's result.",
        margin=0.02,
    ),
    Claim(
        "aees-find",
        "adamw",
        "mnist5k-noise",
        "not worse at any rate",
        "From a tenth to ten times AdamW's rate, its search for the rate ends within 0.02 of the best AdamW's result.",
        margin=0.02,
        failed_before=True,
    ),
    Claim(
        "adaptive-trend",
        "adamw",
        "diamonds",
        "better",
        "With a rate ten times too low, its rule trend ends better than AdamW.",
        factor=0.1,
    ),
    Claim(
        "adaptive-guard",
        "adamw",
        "diamonds",
        "better",
        "With a rate ten times too low, its rule trend under the guard ends better than AdamW.",
        factor=0.1,
        late=True,
    ),
    Claim(
        "adaptive-guard",
        "adamw",
        "mnist5k",
        "better",
        "With a rate ten times too low, its rule trend under the guard ends better than AdamW.",
        factor=0.1,
    ),
    Claim(
        "torcheggroll-r4",
        "openai-es",
        "wide-mnist",
        "not worse and faster",
        "Noise of rank 4 is no worse than dense noise after as many evaluations, in less CPU time.",
        family="es",
    ),
    Claim(
        "torcheggroll-r4",
        "openai-es",
        "wide-mnist",
        "better after equal CPU time",
        "After equal CPU time, noise of rank 4 is ahead of dense noise.",
        family="es",
        late=True,
    ),
)
