"""From records to results: who ran, how they compare with the reference on equal seeds, what is wrong with it."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

from bench.methods.method import split_arm
from bench.methods.table import METHODS, REFERENCE, reference_of, title
from bench.records.models import Curve, Family, Record, Run, Selection, Session, digest_of
from bench.report.flags import flags_of_arm
from bench.report.statistics import Paired, Verdict, holm, paired, verdict
from bench.workloads.table import WORKLOADS


@dataclass
class ArmResult:
    """One arm on one workload."""

    arm: str
    title: str
    ours: bool
    selection: Selection
    finals: dict[int, Run]
    untuned: dict[int, Run]
    tuning: list[Run]
    comparison: Paired | None = None
    adjusted_p: float = 1.0
    verdict: Verdict = "tie"
    against: str = ""
    flags: list[str] = field(default_factory=list[str])

    def tests(self) -> list[float]:
        """Test metric of each final seed that finished."""
        return [run.test for run in self.finals.values() if run.test is not None]

    def mean(self) -> float | None:
        """Mean of the test metric."""
        return statistics.fmean(self.tests()) if self.tests() else None

    def deviation(self) -> float | None:
        """Standard deviation of the test metric over seeds."""
        return statistics.stdev(self.tests()) if len(self.tests()) > 1 else None

    def untuned_mean(self) -> float | None:
        """Mean of the test metric at the defaults."""
        values = [run.test for run in self.untuned.values() if run.test is not None]
        return statistics.fmean(values) if values else None

    def diverged(self) -> int:
        """Final seeds that ended in NaN or infinity."""
        return sum(run.status == "diverged" for run in self.finals.values())

    def steps_to_target(self) -> list[int | None]:
        """Per final seed, the step of the first evaluation at the target; None is a miss, never dropped."""
        selection = self.selection
        return [first_reached(run.curve, selection.target, selection.better) for run in self.finals.values()]

    def median_steps(self) -> float | None:
        """Median over seeds, a miss counting as endless; None where the median itself is a miss."""
        values = [math.inf if step is None else step for step in self.steps_to_target()]
        middle = statistics.median(values) if values else math.inf
        return None if math.isinf(middle) else middle

    def cost(self, name: str) -> float:
        """Median of one cost over final seeds."""
        values = [float(getattr(run.cost, name)) for run in self.finals.values()]
        return statistics.median(values) if values else 0.0

    def tuning_cpu(self) -> float:
        """CPU seconds that tuning took."""
        return math.fsum(run.cost.total_cpu for run in self.tuning)

    def decisions(self) -> list[int]:
        """Decisions of each final run, where the method decides."""
        return [run.decisions for run in self.finals.values() if run.decisions is not None]

    def histogram(self) -> dict[str, int]:
        """What was decided, over all final runs."""
        total: dict[str, int] = {}
        for run in self.finals.values():
            for name, count in run.arms.items():
                total[name] = total.get(name, 0) + count
        return total


@dataclass
class WorkloadResult:
    """All arms of one family on one workload under one profile."""

    profile: str
    workload: str
    family: Family
    title: str
    question: str
    metric: str
    better: str
    target: float | None
    reference: str
    arms: list[ArmResult]

    @property
    def name(self) -> str:
        """For anchors and file names."""
        return f"{self.profile}-{self.workload}-{self.family}"

    def arm(self, name: str) -> ArmResult | None:
        """One arm's result."""
        return next((result for result in self.arms if result.arm == name), None)


def analyse(records: Iterable[Record]) -> list[WorkloadResult]:
    """Results in the order in which tuning ended."""
    records = list(records)
    runs = [record for record in records if isinstance(record, Run)]
    groups: dict[tuple[str, str, Family], list[Selection]] = {}
    for record in records:
        if isinstance(record, Selection):
            groups.setdefault((record.profile, record.workload, record.family), []).append(record)
    return [_workload(selections, runs) for selections in groups.values()]


def _workload(selections: list[Selection], runs: list[Run]) -> WorkloadResult:
    first = selections[0]
    here = [
        run
        for run in runs
        if run.config.workload == first.workload
        and run.config.family == first.family
        and run.config.budget == first.budget
    ]
    arms = [_arm(selection, [run for run in here if run.config.arm == selection.arm]) for selection in selections]
    arms = sorted((arm for arm in arms if arm.finals), key=lambda arm: standing(arm.arm))
    known = WORKLOADS.get(first.workload)
    targets = {selection.target for selection in selections}
    result = WorkloadResult(
        first.profile,
        first.workload,
        first.family,
        (known.title if known else first.workload) + (" (evolution)" if first.family == "es" else ""),
        known.question if known else "",
        first.metric,
        first.better,
        next(iter(targets)) if len(targets) == 1 else None,
        REFERENCE[first.family],
        arms,
    )
    _compare(result)
    for arm in result.arms:
        arm.flags = flags_of_arm(arm, result)
    return result


def is_reference(arm: str) -> bool:
    """Whether an arm is a reference, with or without the common schedule."""
    return split_arm(arm)[0] in REFERENCE.values()


def is_ours(arm: str) -> bool:
    """Whether an arm is a method of ours."""
    return METHODS[split_arm(arm)[0]].ours


def standing(arm: str) -> tuple[bool, bool]:
    """Sorts the arms of a table: the references first, then ours, then the others."""
    return not is_reference(arm), not is_ours(arm)


def families(results: list[WorkloadResult]) -> list[tuple[Family, list[WorkloadResult], list[str]]]:
    """Each family that was run, its results, and its arms in the order of a table."""
    found: dict[Family, list[WorkloadResult]] = {
        family: [result for result in results if result.family == family] for family in REFERENCE
    }
    return [
        (family, some, sorted(dict.fromkeys(arm.arm for result in some for arm in result.arms), key=standing))
        for family, some in found.items()
        if some
    ]


def shared_flags(result: WorkloadResult) -> list[str]:
    """Flags that every arm of a result carries, to be said once."""
    return [flag for flag in result.arms[0].flags if all(flag in arm.flags for arm in result.arms)]


def _arm(selection: Selection, runs: list[Run]) -> ArmResult:
    chosen, untuned = digest_of(selection.chosen), digest_of(selection.untuned)

    def of(setting: str, seeds: list[int]) -> dict[int, Run]:
        found = {run.config.seed: run for run in runs if digest_of(run.config.params) == setting}
        return {seed: found[seed] for seed in seeds if seed in found and _judged(found[seed])}

    return ArmResult(
        arm=selection.arm,
        title=title(selection.arm),
        ours=is_ours(selection.arm),
        selection=selection,
        finals=of(chosen, selection.final_seeds),
        untuned=of(untuned, selection.untuned_seeds),
        tuning=[run for run in runs if run.config.seed in selection.tuning_seeds],
    )


def _judged(run: Run) -> bool:
    return run.test is not None or run.status == "diverged"


def first_reached(curve: Curve, target: float | None, better: str) -> int | None:
    """Step of the first evaluation that meets the target; None is a miss."""
    if target is None:
        return None
    sign = 1 if better == "higher" else -1
    met = (step for step, value in zip(curve.step, curve.value, strict=True) if sign * value >= sign * target)
    return next(met, None)


def differences(arm: ArmResult, other: ArmResult, better: str) -> list[float]:
    """Test metric minus the reference's on equal seeds, positive where the arm is better."""
    sign = 1 if better == "higher" else -1
    found: list[float] = []
    for seed, run in arm.finals.items():
        mine, theirs = run.test, other.finals[seed].test if seed in other.finals else None
        if mine is not None and theirs is not None:
            found.append(sign * (mine - theirs))
    return found


def _compare(result: WorkloadResult) -> None:
    """Pair every arm with its reference and correct for the number of arms on this workload."""
    present = {arm.arm for arm in result.arms}
    compared: list[ArmResult] = []
    for arm in result.arms:
        arm.against = reference_of(arm.arm, result.family, present)
        reference = result.arm(arm.against)
        if reference is None or reference is arm:
            continue
        arm.comparison = paired(differences(arm, reference, result.better))
        compared.append(arm)
    adjusted = holm([1.0 if arm.comparison is None else arm.comparison.p for arm in compared])
    for arm, p in zip(compared, adjusted, strict=True):
        arm.adjusted_p = p
        arm.verdict = verdict_of(arm, result.arm(arm.against) or arm, arm.comparison, p)


def verdict_of(arm: ArmResult, reference: ArmResult, comparison: Paired | None, adjusted_p: float) -> Verdict:
    """What the intervals say, unless more final seeds diverged than the reference's: that is worse."""
    return "worse" if arm.diverged() > reference.diverged() else verdict(comparison, adjusted_p)


def sessions(records: Iterable[Record]) -> list[Session]:
    """The sessions that made the records."""
    return [record for record in records if isinstance(record, Session)]
