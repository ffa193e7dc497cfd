"""Whether the claims of `bench.protocol.claims` held."""

from collections import Counter
from collections.abc import Callable, Mapping
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
    """How a claim fared, on the final seeds of its workload or on the fresh ones."""

    claim: Claim
    profile: str
    fresh: bool
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

    @property
    def seeds(self) -> str:
        """What the page calls the seeds."""
        return "fresh" if self.fresh else "final"


@dataclass(frozen=True)
class Match:
    """The two entries of a claim where both were run, and the runs by which it is judged."""

    claim: Claim
    fresh: bool
    result: WorkloadResult
    other: EntryResult
    mine: Mapping[int, Run]
    theirs: Mapping[int, Run]
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


def match_of(claim: Claim, results: list[WorkloadResult], fresh: bool = False) -> Match | None:
    """Returns the first result that can tell: both entries, and pairs of seeds or a divergence.

    Args:
        claim: what is judged.
        results: of all workloads.
        fresh: whether the fresh seeds judge it, or the final ones.
    """
    for result in results:
        one, other = result.entry(claim.entry), result.entry(claim.against)
        if (result.workload, result.family) != (claim.workload, claim.family) or one is None or other is None:
            continue
        match = _over_the_rate if claim.kind == "not worse at any rate" else _at_one_setting
        found = match(claim, fresh, result, one, other)
        if found.comparison is not None or found.diverged[0] > found.diverged[1]:
            return found
    return None


def _at_one_setting(claim: Claim, fresh: bool, result: WorkloadResult, one: EntryResult, other: EntryResult) -> Match:
    mine, theirs = one.at(claim.factor, fresh), other.at(claim.factor, fresh)
    compare = differences_at_equal_cpu if claim.kind == "better after equal CPU time" else differences
    comparison = paired(compare(mine, theirs, result.sign))
    return Match(claim, fresh, result, other, mine, theirs, comparison, (_diverged(mine), _diverged(theirs)))


def _over_the_rate(claim: Claim, fresh: bool, result: WorkloadResult, one: EntryResult, other: EntryResult) -> Match:
    """Returns the match at the rate whose interval reaches lowest; the rival stands at its chosen rate throughout."""
    runs = {factor: one.at(factor, fresh) for factor in claim.factors(one.entry, one.selection.rates or [])}
    theirs = other.at(1.0, fresh)
    if len(runs) == 1 or not all(runs.values()):
        return Match(claim, fresh, result, other, {}, theirs, None, (0, 0))
    compared = {factor: paired(differences(some, theirs, result.sign)) for factor, some in runs.items()}
    known = {factor: comparison for factor, comparison in compared.items() if comparison is not None}
    worst = min(known, key=lambda factor: known[factor].t_low, default=1.0)
    diverged = (sum(map(_diverged, runs.values())), _diverged(theirs))
    at = f"at {worst:.2g} times its rate, the worst of {len(runs)}"
    return Match(claim, fresh, result, other, runs[worst], theirs, known.get(worst), diverged, at)


def _diverged(runs: Mapping[int, Run]) -> int:
    return sum(run.status == "diverged" for run in runs.values())


def judge_all(results: list[WorkloadResult]) -> list[Outcome]:
    """Judges every claim on each set of seeds that may judge it.

    All claims of a difference, on either set, are one family of tests, corrected by Holm's method.
    """
    asked = [
        (claim, fresh)
        for claim in CLAIMS
        for fresh in (False, True)
        if (not claim.late if not fresh else claim.late or _has_fresh_seeds(claim, results))
    ]
    matches = {(claim, fresh): match_of(claim, results, fresh) for claim, fresh in asked}
    tested = [match for match in matches.values() if match is not None and match.needs_p]
    adjusted = holm([match.p for match in tested])
    p = {(match.claim, match.fresh): value for match, value in zip(tested, adjusted, strict=True)}
    return [
        Outcome(claim, "", fresh, "not measured", "the workload has not been run to its end")
        if match is None
        else Outcome(claim, match.result.profile, fresh, _outcome(match, p.get((claim, fresh), 1.0)), _detail(match, p))
        for (claim, fresh), match in matches.items()
    ]


def _has_fresh_seeds(claim: Claim, results: list[WorkloadResult]) -> bool:
    return any(
        entry.selection.fresh_seeds
        for result in results
        if (result.workload, result.family) == (claim.workload, claim.family)
        for entry in result.entries
        if entry.entry == claim.entry
    )


def withdrawn(outcomes: list[Outcome]) -> set[Claim]:
    """Returns the claims that were judged on two sets of seeds, and shown on neither."""
    failed = [outcome for outcome in outcomes if outcome.result in ("not shown", "refuted")]
    times = Counter(outcome.claim for outcome in failed)
    return {claim for claim, count in times.items() if count + claim.failed_before > 1}


def latest(outcomes: list[Outcome]) -> list[Outcome]:
    """Returns one outcome for each claim: that of the fresh seeds where they have judged it."""
    found: dict[Claim, Outcome] = {}
    for outcome in outcomes:
        if outcome.claim not in found or outcome.result != "not measured":
            found[outcome.claim] = outcome
    return list(found.values())


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
    if cpu_ratio(match.mine, match.theirs) >= 1:
        return "refuted"
    return _not_worse(match, found, adjusted_p)


RULES: dict[Kind, Callable[[Match, Paired, float], Judgement]] = {
    "better": _better,
    "better after equal CPU time": _better,
    "not worse": _not_worse,
    "not worse at any rate": _not_worse,
    "not worse and faster": _not_worse_and_faster,
}


def _detail(match: Match, adjusted: Mapping[tuple[Claim, bool], float]) -> str:
    parts: list[str] = []
    if match.comparison is not None:
        end = f"p = {adjusted[match.claim, match.fresh]:.2g} (Holm)" if match.needs_p else f"margin {match.margin:g}"
        parts.append(
            f"{_measured(match)} {interval(match.comparison)} against {match.other.title}, "
            f"n = {match.comparison.n}, {end}{', ' * bool(match.at)}{match.at}"
        )
    if match.claim.kind == "not worse and faster":
        early = paired(differences_at_equal_cpu(match.mine, match.theirs, match.result.sign))
        parts.append(f"{cpu_ratio(match.mine, match.theirs):.2f} of its CPU seconds")
        parts += [f"validation after equal CPU seconds {interval(early)}"] if early is not None else []
    if match.diverged[0]:
        parts.append(
            f"{match.diverged[0]} of {len(match.mine)} runs diverged, {match.diverged[1]} of {match.other.title}"
        )
    return "; ".join(parts)


def _measured(match: Match) -> str:
    """Returns what was compared: curves are of validation, so that claims along a run are about it."""
    along = match.claim.kind == "better after equal CPU time"
    return f"validation {match.result.metric} after equal CPU seconds" if along else match.result.metric
