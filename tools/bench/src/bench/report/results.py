"""The results in a report: those of each entry on a workload, and of the workload with all its entries."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from bench.protocol.search import ranked, rate_times, score
from bench.records.models import Curve, Family, Run, Selection, Trial
from bench.report.statistics import Paired, Verdict, paired

WITHIN = 0.01  # the share of its best within which a rate counts as good


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
    rates: dict[float, list[Run]] = field(default_factory=dict[float, list[Run]])  # by learning rate
    fresh: dict[float, dict[int, Run]] = field(default_factory=dict[float, dict[int, Run]])  # by rate, then by seed
    comparison: Paired | None = None
    adjusted_p: float = 1.0
    verdict: Verdict = "undecided"
    against: str = ""
    target: float | None = None  # on validation
    flags: list[str] = field(default_factory=list[str])

    @property
    def sign(self) -> int:
        """1 where a higher metric is better, -1 where a lower one is."""
        return 1 if self.selection.better == "higher" else -1

    def tests(self) -> list[float]:
        """Returns the test metric of each final seed that finished."""
        return [run.test for run in self.finals.values() if run.test is not None]

    def mean(self) -> float | None:
        """Returns the mean of the test metric."""
        return statistics.fmean(self.tests()) if self.tests() else None

    def deviation(self) -> float | None:
        """Returns the standard deviation of the test metric over seeds."""
        return statistics.stdev(self.tests()) if len(self.tests()) > 1 else None

    def untuned_mean(self) -> float | None:
        """Returns the mean of the test metric at the documented recommendation."""
        values = [run.test for run in self.untuned.values() if run.test is not None]
        return statistics.fmean(values) if values else None

    def diverged(self) -> int:
        """Counts the final seeds that ended in NaN or infinity."""
        return sum(run.status == "diverged" for run in self.finals.values())

    def steps_to_target(self) -> list[int | None]:
        """Returns per final seed the step of the first evaluation at the target; None is a miss, never dropped."""
        return [first_reached(run.curve, self.target, self.selection.better) for run in self.finals.values()]

    def median_steps(self) -> float | None:
        """Returns the median over seeds, a miss counting as endless; None where the median itself is a miss."""
        values = [math.inf if step is None else step for step in self.steps_to_target()]
        middle = statistics.median(values) if values else math.inf
        return None if math.isinf(middle) else middle

    def cost(self, name: str) -> float:
        """Returns the median of one cost over final seeds."""
        values = [float(getattr(run.cost, name)) for run in self.finals.values()]
        return statistics.median(values) if values else 0.0

    def tuning_cpu(self) -> float:
        """Returns the CPU seconds that tuning took."""
        return math.fsum(run.cost.total_cpu for run in self.tuning)

    def decisions(self) -> list[int]:
        """Returns the decisions of each final run, where the method decides."""
        return [run.decisions for run in self.finals.values() if run.decisions is not None]

    def histogram(self) -> dict[str, int]:
        """Returns what was decided, over all final runs."""
        total: dict[str, int] = {}
        for run in self.finals.values():
            for name, count in run.arms.items():
                total[name] = total.get(name, 0) + count
        return total

    def decisive(self) -> list[Trial]:
        """Returns the trials of the stage that decided, best first."""
        last = max((trial.stage or 0 for trial in self.selection.trials), default=0)
        trials = [trial for trial in self.selection.trials if (trial.stage or 0) == last]
        return sorted(trials, key=lambda trial: -score(trial, self.selection.better))

    def is_rescued(self) -> bool:
        """Tells whether the chosen setting is the documented one and went on to stage 2 against its rank in stage 1."""
        first = [trial for trial in self.selection.trials if trial.stage == 1]
        others = [trial.params for trial in self.decisive() if trial.params != self.selection.untuned]
        if self.selection.chosen != self.selection.untuned or not self.selection.documented or not first:
            return False
        order = [trial.params for trial in ranked(first, self.selection.better)]
        return all(order.index(params) < order.index(self.selection.untuned) for params in others)

    def validation(self) -> float:
        """Returns the mean validation of the chosen setting, higher is better; -inf where it has no trial."""
        found = [score(t, self.selection.better) for t in self.decisive() if t.params == self.selection.chosen]
        return found[0] if found else -math.inf

    def standard_error(self) -> float | None:
        """Returns the standard error of the chosen setting's mean validation."""
        values = [value for trial in self.decisive()[:1] for value in trial.values if value is not None]
        return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None

    def alternatives(self) -> list[Trial]:
        """Returns the settings that the deciding stage could not tell from the best: their t interval covers 0."""
        trials = self.decisive()
        return [trial for trial in trials[1:] if _undecided(trials[0], trial)]

    def tuning_range(self) -> tuple[float, float] | None:
        """Returns the least and the greatest mean validation over the best setting and its `alternatives`."""
        trials = [*self.decisive()[:1], *self.alternatives()]
        means = [self.sign * score(trial, self.selection.better) for trial in trials]
        return (min(means), max(means)) if means and all(map(math.isfinite, means)) else None

    def at(self, factor: float, fresh: bool = False) -> dict[int, Run]:
        """Returns the runs at a multiple of the chosen rate, by seed.

        Away from the chosen rate, and on fresh seeds, there are none until every seed has been run.
        """
        lr, selection = rate_times(self.selection.chosen, factor), self.selection
        if factor == 1 and not fresh:
            return self.finals
        if fresh:
            runs, asked = self.fresh.get(lr, {}), selection.fresh_seeds or []
        else:
            runs, asked = {run.config.seed: run for run in self.rates.get(lr, [])}, selection.rate_seeds or []
        return runs if {*runs} == {*asked} else {}

    def has_all_rates(self) -> bool:
        """Tells whether it ran at every rate, on every seed, that its study asks for; also where none is asked for."""
        selection = self.selection
        asked = len(selection.rates or []) * len(selection.rate_seeds or [])
        return sum(map(len, self.rates.values())) == asked

    def rate_curve(self) -> list[tuple[float, float | None]]:
        """Returns (learning rate, mean test metric over the rate seeds), ascending; None where a seed diverged."""
        seeds = set(self.selection.rate_seeds or [])
        chosen = {float(self.selection.chosen["lr"]): [run for seed, run in self.finals.items() if seed in seeds]}
        points: list[tuple[float, float | None]] = []
        for lr, runs in sorted({**self.rates, **chosen}.items()):
            values = [run.test for run in runs if run.test is not None]
            points.append((lr, statistics.fmean(values) if values and len(values) == len(runs) else None))
        return points if self.rates and self.has_all_rates() else []

    def good_decades(self) -> float | None:
        """Returns how many decades of the rate lie within 1 % of the best, between points on the log scale."""
        points = [(math.log10(lr), value) for lr, value in self.rate_curve()]
        known = [self.sign * value for _, value in points if value is not None]
        if not known:
            return None
        floor = max(known) - WITHIN * abs(max(known))
        place = np.linspace(points[0][0], points[-1][0], 2001)
        worst = min(known) - 10 * (max(known) - min(known) + 1e-12)
        heights = [worst if value is None else self.sign * value for _, value in points]
        inside = np.interp(place, [x for x, _ in points], heights) >= floor
        return float(inside.mean() * (points[-1][0] - points[0][0]))


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
    margin: float
    reference: str
    entries: list[EntryResult]
    complete: bool  # every final run of every entry is there

    @property
    def misled(self) -> list[str]:
        """The methods whose chosen setting stage 1 would have dropped."""
        return [entry.title for entry in self.entries if entry.is_rescued()]

    def place(self, entry: EntryResult) -> str:
        """Returns the title, and what a verdict is about where the search did not choose one of the two settings."""
        pair = (entry, self.entry(entry.against))
        rescued = any(one is not None and one.is_rescued() for one in pair)
        return f"{self.title} with the documented setting" if rescued else self.title

    @property
    def name(self) -> str:
        """For anchors and file names."""
        return f"{self.profile}-{self.workload}-{self.family}"

    @property
    def sign(self) -> int:
        """1 where a higher metric is better, -1 where a lower one is."""
        return 1 if self.better == "higher" else -1

    def entry(self, name: str) -> EntryResult | None:
        """Returns one entry's result."""
        return next((result for result in self.entries if result.entry == name), None)

    def still_improving(self) -> float | None:
        """Returns the share by which the reference's mean validation improves in the last fifth of its final runs."""
        reference = self.entry(self.reference)
        curves = [run.curve for run in reference.finals.values() if run.curve.value] if reference else []
        if not curves:
            return None
        before, end = (statistics.fmean(value_after(share, curve) for curve in curves) for share in (0.8, 1.0))
        return self.sign * (end - before) / abs(before) if before else None


def _undecided(one: Trial, other: Trial) -> bool:
    pairs = [a - b for a, b in zip(one.values, other.values, strict=False) if a is not None and b is not None]
    compared = paired(pairs) if len(pairs) == len(one.values) else None
    return compared is not None and compared.t_low <= 0 <= compared.t_high


def value_after(share: float, curve: Curve) -> float:
    """Returns the validation value that a run has reached after a share of its evaluations."""
    return curve.value[max(0, round(share * len(curve.value)) - 1)]


def first_reached(curve: Curve, target: float | None, better: str) -> int | None:
    """Returns the step of the first evaluation that meets the target; None is a miss."""
    if target is None:
        return None
    sign = 1 if better == "higher" else -1
    met = (step for step, value in zip(curve.step, curve.value, strict=True) if sign * value >= sign * target)
    return next(met, None)


def differences(one: Mapping[int, Run], other: Mapping[int, Run], sign: int) -> list[float]:
    """Returns the test metric minus the other's on equal seeds, positive where ``one`` is better."""
    found: list[float] = []
    for seed, run in one.items():
        mine, theirs = run.test, other[seed].test if seed in other else None
        if mine is not None and theirs is not None:
            found.append(sign * (mine - theirs))
    return found


def at_equal_cpu(result: WorkloadResult, entry: EntryResult) -> Paired | None:
    """Returns the difference in validation to what an entry is compared with, after equal CPU seconds."""
    against = result.entry(entry.against)
    if against is None or against is entry:
        return None
    return paired(differences_at_equal_cpu(entry.finals, against.finals, result.sign))


def value_at_cpu(run: Run, seconds: float) -> float | None:
    """Returns the last validation value that a run had reached by a CPU time of training; None before the first."""
    seen = [value for cpu, value in zip(run.curve.cpu, run.curve.value, strict=True) if cpu <= seconds]
    return seen[-1] if seen else None


def differences_at_equal_cpu(one: Mapping[int, Run], other: Mapping[int, Run], sign: int) -> list[float]:
    """Returns validation minus the other's on equal seeds, each pair read when its faster run has ended."""
    found: list[float] = []
    for seed, run in one.items():
        if seed not in other or not run.curve.cpu or not other[seed].curve.cpu:
            continue
        end = min(run.curve.cpu[-1], other[seed].curve.cpu[-1])
        mine, theirs = value_at_cpu(run, end), value_at_cpu(other[seed], end)
        if mine is not None and theirs is not None:
            found.append(sign * (mine - theirs))
    return found
