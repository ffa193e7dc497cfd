"""What each of our methods promises, the workload on which the promise can fail, and whether it did."""

from dataclasses import dataclass
from typing import Literal

from bench.methods.table import title
from bench.report.analysis import differences, verdict_of
from bench.report.results import EntryResult, WorkloadResult
from bench.report.statistics import Paired, Verdict, holm, paired
from bench.report.tables import interval
from bench.workloads.table import WORKLOADS


@dataclass(frozen=True)
class Claim:
    """An entry against another one on one workload."""

    entry: str
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
        return title(self.claim.entry)

    @property
    def place(self) -> str:
        """The workload's title."""
        return WORKLOADS[self.claim.workload].title


@dataclass(frozen=True)
class Match:
    """The two entries of a claim where both were run."""

    claim: Claim
    result: WorkloadResult
    one: EntryResult
    other: EntryResult
    comparison: Paired | None

    @property
    def p(self) -> float:
        """Before correction."""
        return 1.0 if self.comparison is None else self.comparison.p


def match_of(claim: Claim, results: list[WorkloadResult]) -> Match | None:
    """The first result that can tell: both entries, and pairs of seeds or a divergence."""
    for result in results:
        one, other = result.entry(claim.entry), result.entry(claim.against)
        if result.workload != claim.workload or one is None or other is None:
            continue
        comparison = paired(differences(one, other, result.better))
        if comparison is not None or one.diverged() > other.diverged():
            return Match(claim, result, one, other, comparison)
    return None


def judge_all(results: list[WorkloadResult]) -> list[Outcome]:
    """Every claim: shown when better, refuted when worse or diverging more, not shown in a tie.

    The claims that were measured are one family of tests, corrected by Holm's method.
    """
    matches = {claim: match_of(claim, results) for claim in CLAIMS}
    measured = [match for match in matches.values() if match is not None]
    adjusted = dict(zip((match.claim for match in measured), holm([match.p for match in measured]), strict=True))
    return [
        Outcome(claim, "", "not measured", "both methods on this workload are needed")
        if match is None
        else _judge(match, adjusted[claim])
        for claim, match in matches.items()
    ]


def _judge(match: Match, adjusted_p: float) -> Outcome:
    found = verdict_of(match.one, match.other, match.comparison, adjusted_p)
    parts: list[str] = []
    if match.comparison is not None:
        parts.append(
            f"{match.result.metric} {interval(match.comparison)} against {match.other.title}, "
            f"n = {match.comparison.n}, p = {adjusted_p:.2g} (Holm)"
        )
    if match.one.diverged():
        parts.append(
            f"{match.one.diverged()} of {len(match.one.finals)} runs diverged, "
            f"{match.other.diverged()} of {match.other.title}"
        )
    return Outcome(match.claim, match.result.profile, OUTCOMES[found], "; ".join(parts))
