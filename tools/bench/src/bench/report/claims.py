"""What each of our methods promises, the workload on which the promise can fail, and whether it did."""

from dataclasses import dataclass
from typing import Literal

from bench.methods.table import title
from bench.report.analysis import WorkloadResult, differences
from bench.stats import paired, verdict
from bench.workloads.table import WORKLOADS


@dataclass(frozen=True)
class Claim:
    """An arm against another one on one workload."""

    arm: str
    against: str
    workload: str
    text: str


CLAIMS = (
    Claim(
        "thermolion",
        "adamw",
        "mnist5k-noise",
        "its signal-to-noise gate resists wrong labels better than AdamW",
    ),
    Claim("rangerlite", "radam", "shakespeare", "looking ahead takes RAdam further in the same steps"),
    Claim(
        "aees-adamw",
        "adamw",
        "mnist5k-noise",
        "choosing learning-rate factors and gradient noise by bandit improves AdamW under noise",
    ),
    Claim("adaptive-adamw", "adamw", "diamonds", "a rate driven by the loss beats the best constant one of AdamW"),
    Claim(
        "torcheggroll",
        "openai-es",
        "int4-mnist",
        "noise of rank 4 gets further than dense noise with equal evaluations",
    ),
)


@dataclass(frozen=True)
class Outcome:
    """How a claim fared."""

    claim: Claim
    profile: str
    result: Literal["shown", "not shown", "refuted", "not measured"]
    detail: str

    @property
    def title(self) -> str:
        """The method's name."""
        return title(self.claim.arm)

    @property
    def place(self) -> str:
        """The workload's title."""
        return WORKLOADS[self.claim.workload].title


def judge(claim: Claim, results: list[WorkloadResult]) -> Outcome:
    """Shown when better, refuted when worse, not shown when it is a tie; each by a paired test of its own."""
    for result in results:
        one, other = result.arm(claim.arm), result.arm(claim.against)
        if result.workload != claim.workload or one is None or other is None:
            continue
        comparison = paired(differences(one, other, result.better))
        if comparison is None:
            continue
        found = verdict(comparison, comparison.p)
        outcome = {"better": "shown", "tie": "not shown", "worse": "refuted"}[found]
        detail = (
            f"{comparison.mean:+.4g} {result.metric} against {other.title} "
            f"[{comparison.t_low:+.4g}, {comparison.t_high:+.4g}], n = {comparison.n}"
        )
        return Outcome(claim, result.profile, outcome, detail)  # type: ignore[arg-type]
    return Outcome(claim, "", "not measured", "both methods on this workload are needed")


def judge_all(results: list[WorkloadResult]) -> list[Outcome]:
    """Every claim."""
    return [judge(claim, results) for claim in CLAIMS]
