"""What each of our methods promises, the workload on which the promise can fail, and whether it did."""

from dataclasses import dataclass
from typing import Literal

from bench.methods.table import title
from bench.report.analysis import ArmResult, WorkloadResult, differences, verdict_of
from bench.stats import Paired, Verdict, paired
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


Judgement = Literal["shown", "not shown", "refuted", "not measured"]
OUTCOMES: dict[Verdict, Judgement] = {"better": "shown", "tie": "not shown", "worse": "refuted"}


@dataclass(frozen=True)
class Outcome:
    """How a claim fared."""

    claim: Claim
    profile: str
    result: Judgement
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
    """Shown when better, refuted when worse or diverging more, not shown in a tie; each by a paired test of its own."""
    for result in results:
        one, other = result.arm(claim.arm), result.arm(claim.against)
        if result.workload != claim.workload or one is None or other is None:
            continue
        comparison = paired(differences(one, other, result.better))
        found = verdict_of(one, other, comparison, comparison.p if comparison else 1.0)
        if comparison is None and found == "tie":
            continue
        return Outcome(claim, result.profile, OUTCOMES[found], _detail(one, other, comparison, result.metric))
    return Outcome(claim, "", "not measured", "both methods on this workload are needed")


def _detail(one: ArmResult, other: ArmResult, comparison: Paired | None, metric: str) -> str:
    """The paired difference, and how often it diverged."""
    parts: list[str] = []
    if comparison is not None:
        parts.append(
            f"{comparison.mean:+.4g} {metric} against {other.title} "
            f"[{comparison.t_low:+.4g}, {comparison.t_high:+.4g}], n = {comparison.n}"
        )
    if one.diverged():
        parts.append(f"{one.diverged()} of {len(one.finals)} runs diverged, {other.diverged()} of {other.title}")
    return "; ".join(parts)


def judge_all(results: list[WorkloadResult]) -> list[Outcome]:
    """Every claim."""
    return [judge(claim, results) for claim in CLAIMS]
