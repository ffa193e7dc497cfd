"""Whether the claims of `bench.protocol.claims` held."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.methods.table import title
from bench.protocol.claims import CLAIMS, Claim, Kind
from bench.records.models import Run
from bench.report.analysis import cpu_ratio
from bench.report.results import EntryResult, WorkloadResult, differences, differences_at_equal_cpu
from bench.report.statistics import ENOUGH_PAIRS, LEVEL, Paired, holm, paired
from bench.report.tables import interval
from bench.workloads.table import WORKLOADS

Judgement = Literal["shown", "not shown", "refuted", "not measured"]


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
    def where(self) -> str:
        """The workload's title."""
        return WORKLOADS[self.claim.workload].title


@dataclass(frozen=True)
class Match:
    """The two entries of a claim where both were run, and the seeds on which it is judged."""

    claim: Claim
    result: WorkloadResult
    one: EntryResult
    other: EntryResult
    comparison: Paired | None
    diverged: tuple[int, int]
    at: str = ""  # where the comparison is one of several: which

    @property
    def margin(self) -> float:
        """The margin of a claim of being no worse: its own, or the workload's."""
        return self.result.margin if self.claim.margin is None else self.claim.margin

    @property
    def p(self) -> float:
        """Before correction; a claim of being no worse is judged by its interval alone."""
        return 1.0 if self.comparison is None else self.comparison.p

    @property
    def needs_p(self) -> bool:
        """Returns whether it is a claim of a difference."""
        return self.claim.kind.startswith("better")


def match_of(claim: Claim, results: list[WorkloadResult]) -> Match | None:
    """Returns the first result that can tell: both entries, and pairs of seeds or a divergence."""
    for result in results:
        one, other = result.entry(claim.entry), result.entry(claim.against)
        if (result.workload, result.family) != (claim.workload, claim.family) or one is None or other is None:
            continue
        match = _over_the_rate if claim.kind == "not worse at any rate" else _at_one_setting
        found = match(claim, result, one, other)
        if found.comparison is not None or found.diverged[0] > found.diverged[1]:
            return found
    return None


def _at_one_setting(claim: Claim, result: WorkloadResult, one: EntryResult, other: EntryResult) -> Match:
    mine, theirs = _judged(claim.kind, one), _judged(claim.kind, other)
    diverged = (_diverged(mine), _diverged(theirs))
    return Match(claim, result, one, other, paired(differences(mine, theirs, result.sign)), diverged)


def _over_the_rate(claim: Claim, result: WorkloadResult, one: EntryResult, other: EntryResult) -> Match:
    """Returns the match at the rate whose interval reaches lowest; the rival stands at its chosen rate throughout."""
    chosen = float(one.selection.chosen["lr"])
    runs = {chosen: one.finals, **{lr: {run.config.seed: run for run in some} for lr, some in one.rates.items()}}
    if not one.rates or not one.has_all_rates():
        return Match(claim, result, one, other, None, (0, 0))
    compared = {lr: paired(differences(some, other.finals, result.sign)) for lr, some in runs.items()}
    known = {lr: comparison for lr, comparison in compared.items() if comparison is not None}
    worst = min(known, key=lambda lr: known[lr].t_low, default=chosen)
    diverged = (sum(map(_diverged, runs.values())), _diverged(other.finals))
    at = f"at {worst / chosen:.2g} times its rate, the worst of {len(runs)}"
    return Match(claim, result, one, other, known.get(worst), diverged, at)


def _judged(kind: Kind, entry: EntryResult) -> dict[int, Run]:
    if kind != "better at a tenth of the rate":
        return entry.finals
    if not entry.has_all_rates():
        return {}
    tenth = float(f"{float(entry.selection.chosen['lr']) * 0.1:.3g}")
    return {run.config.seed: run for run in entry.rates.get(tenth, [])}


def _diverged(runs: dict[int, Run]) -> int:
    return sum(run.status == "diverged" for run in runs.values())


def judge_all(results: list[WorkloadResult]) -> list[Outcome]:
    """Judges every claim; those of a difference are one family of tests, corrected by Holm's method."""
    matches = {claim: match_of(claim, results) for claim in CLAIMS}
    tested = [match for match in matches.values() if match is not None and match.needs_p]
    adjusted = dict(zip((match.claim for match in tested), holm([match.p for match in tested]), strict=True))
    return [
        Outcome(claim, "", "not measured", "the workload has not been run to its end")
        if match is None
        else Outcome(claim, match.result.profile, _outcome(match, adjusted.get(claim, 1.0)), _detail(match, adjusted))
        for claim, match in matches.items()
    ]


def _outcome(match: Match, adjusted_p: float) -> Judgement:
    """Shown and refuted need five pairs; more divergences than the rival's refute."""
    if match.diverged[0] > match.diverged[1]:
        return "refuted"
    if match.comparison is None or match.comparison.n < ENOUGH_PAIRS:
        return "not shown"
    return RULES[match.claim.kind](match, match.comparison, adjusted_p)


def _better(match: Match, found: Paired, adjusted_p: float) -> Judgement:
    """Shown: Holm's p below 5 % and both intervals above 0."""
    if adjusted_p >= 1 - LEVEL or found.t_low <= 0 <= found.t_high or found.boot_low <= 0 <= found.boot_high:
        return "not shown"
    return "shown" if found.mean > 0 else "refuted"


def _not_worse(match: Match, found: Paired, adjusted_p: float) -> Judgement:
    """Shown: the t interval lies above minus the margin; refuted: it lies below."""
    if found.t_low > -match.margin:
        return "shown"
    return "refuted" if found.t_high < -match.margin else "not shown"


def _not_worse_and_faster(match: Match, found: Paired, adjusted_p: float) -> Judgement:
    """As `_not_worse`, and the median CPU time is less than the rival's."""
    if cpu_ratio(match.one, match.other) >= 1:
        return "refuted"
    return _not_worse(match, found, adjusted_p)


RULES: dict[Kind, Callable[[Match, Paired, float], Judgement]] = {
    "better": _better,
    "better at a tenth of the rate": _better,
    "not worse": _not_worse,
    "not worse at any rate": _not_worse,
    "not worse and faster": _not_worse_and_faster,
}


def _detail(match: Match, adjusted: dict[Claim, float]) -> str:
    parts: list[str] = []
    if match.comparison is not None:
        end = f"p = {adjusted[match.claim]:.2g} (Holm)" if match.needs_p else f"margin {match.margin:g}"
        parts.append(
            f"{match.result.metric} {interval(match.comparison)} against {match.other.title}, "
            f"n = {match.comparison.n}, {end}{', ' * bool(match.at)}{match.at}"
        )
    if match.claim.kind == "not worse and faster":
        early = paired(differences_at_equal_cpu(match.one.finals, match.other.finals, match.result.sign))
        parts.append(f"{cpu_ratio(match.one, match.other):.2f} of its CPU seconds")
        parts += [f"validation after equal CPU seconds {interval(early)}"] if early is not None else []
    if match.diverged[0]:
        parts.append(
            f"{match.diverged[0]} of {len(_judged(match.claim.kind, match.one))} runs diverged, "
            f"{match.diverged[1]} of {match.other.title}"
        )
    return "; ".join(parts)
