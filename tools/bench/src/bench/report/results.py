"""What a report is made from: each entry's result on a workload, and the workload's with all its entries."""

import math
import statistics
from dataclasses import dataclass, field

from bench.records.models import Curve, Family, Run, Selection
from bench.report.statistics import Paired, Verdict


@dataclass
class EntryResult:
    """One entry on one workload."""

    entry: str
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
    """All entries of one family on one workload under one profile."""

    profile: str
    workload: str
    family: Family
    title: str
    question: str
    metric: str
    better: str
    target: float | None
    reference: str
    entries: list[EntryResult]

    @property
    def name(self) -> str:
        """For anchors and file names."""
        return f"{self.profile}-{self.workload}-{self.family}"

    def entry(self, name: str) -> EntryResult | None:
        """One entry's result."""
        return next((result for result in self.entries if result.entry == name), None)


def first_reached(curve: Curve, target: float | None, better: str) -> int | None:
    """Step of the first evaluation that meets the target; None is a miss."""
    if target is None:
        return None
    sign = 1 if better == "higher" else -1
    met = (step for step, value in zip(curve.step, curve.value, strict=True) if sign * value >= sign * target)
    return next(met, None)
