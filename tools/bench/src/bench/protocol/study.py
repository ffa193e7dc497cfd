"""One workload's study: tune every entry alike, widen once for everyone, then run the final and the untuned seeds.

A study is a generator. It yields the jobs it needs next and receives their runs; it never knows where they ran, or
whether they were found finished in the record file.
"""

import math
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass

from bench.execute.train import Job
from bench.methods.method import Method, split_entry
from bench.methods.table import METHODS
from bench.protocol.profiles import Profile
from bench.records.models import Config, Family, Role, Run, Selection, Trial, Value
from bench.workloads.base import Workload

Setting = dict[str, Value]
Runs = Mapping[str, Run]


@dataclass(frozen=True)
class Need:
    """What a study asks for, and the choices it has just made."""

    jobs: list[Job]
    selections: list[Selection]


@dataclass(frozen=True)
class Study:
    """One family of entries on one workload under one profile."""

    profile: Profile
    workload: Workload
    family: Family
    entries: list[str]
    device: str = "cpu"
    target: float | None = None
    workers: int = 1
    task_path: str = ""
    task_digest: str = ""
    run_seconds: float = 2.0  # CPU seconds of a run here, asked only where costs.json knows none

    @property
    def name(self) -> str:
        """What a progress line calls it."""
        return f"{self.workload.title}" + (" (evolution)" if self.family == "es" else "")

    def job(self, entry: str, params: Setting, seed: int, role: Role) -> Job:
        """One run of this study."""
        budget = self.workload.budgets[self.profile.name][self.family]
        config = Config(
            workload=self.workload.id,
            family=self.family,
            budget=asdict(budget),
            entry=entry,
            params=params,
            seed=seed,
            device=self.device,
            data=self.workload.fingerprints(),
            task=self.task_digest,
        )
        return Job(config, role, self.profile.name, self.workers, self.task_path)

    def expected_runs(self) -> dict[str, int]:
        """Runs per entry if everyone is widened, which is what nearly always happens."""
        profile = self.profile
        tuning = (profile.trials + profile.widen) * len(profile.tuning_seeds)
        return dict.fromkeys(self.entries, tuning + len(profile.final_seeds) + len(profile.untuned_seeds))

    def go(self) -> Generator[Need, Runs, None]:
        """The whole protocol."""
        count, workload = self.profile.trials, self.workload
        settings = {
            entry: self._method(entry).trials(count, workload.rewards, workload.lr_factor) for entry in self.entries
        }
        runs = dict((yield Need(self._tuning_jobs(settings), [])))
        tried = {entry: self._trials(entry, settings[entry], runs) for entry in self.entries}
        widened = self.profile.widen and any(on_edge(self._ranked(trials)) for trials in tried.values())
        if widened:
            more = {entry: [one_more(self._ranked(trials))] for entry, trials in tried.items()}
            runs.update((yield Need(self._tuning_jobs(more), [])))
            tried = {entry: [*trials, *self._trials(entry, more[entry], runs)] for entry, trials in tried.items()}
        selections = [self._select(entry, trials, widened) for entry, trials in tried.items()]
        yield Need(self._final_jobs(selections), selections)

    def _method(self, entry: str) -> Method:
        return METHODS[split_entry(entry)[0]]

    def _tuning_jobs(self, settings: Mapping[str, list[Setting]]) -> list[Job]:
        """Setting by setting, entry by entry: the first results of all entries come first."""
        longest = max(len(some) for some in settings.values())
        return [
            self.job(entry, some[i], seed, "tune")
            for i in range(longest)
            for entry, some in settings.items()
            if i < len(some)
            for seed in self.profile.tuning_seeds
        ]

    def _trials(self, entry: str, settings: list[Setting], runs: Runs) -> list[Trial]:
        seeds = self.profile.tuning_seeds
        return [
            Trial(
                params=setting, values=[runs[self.job(entry, setting, seed, "tune").config.key].value for seed in seeds]
            )
            for setting in settings
        ]

    def _ranked(self, trials: list[Trial]) -> list[Trial]:
        return ranked(trials, self.workload.better)

    def _select(self, entry: str, trials: list[Trial], widened: bool) -> Selection:
        best_first = self._ranked(trials)
        profile, budget = self.profile, self.workload.budgets[self.profile.name][self.family]
        return Selection(
            profile=profile.name,
            workload=self.workload.id,
            family=self.family,
            entry=entry,
            budget=asdict(budget),
            better=self.workload.better,
            metric=self.workload.metric,
            target=self.target,
            trials=trials,
            tuning_seeds=list(profile.tuning_seeds),
            final_seeds=list(profile.final_seeds),
            untuned_seeds=list(profile.untuned_seeds),
            chosen=best_first[0].params,
            untuned=self._method(entry).untuned_setting(self.workload.rewards),
            widened=widened,
            edge=on_edge(best_first),
        )

    def _final_jobs(self, selections: list[Selection]) -> list[Job]:
        """Seed by seed, so that a run cut short still has pairs."""
        jobs = {
            job.config.key: job
            for seed in self.profile.final_seeds
            for selection in selections
            for job in [self.job(selection.entry, selection.chosen, seed, "final")]
        }
        for seed in self.profile.untuned_seeds:
            for selection in selections:
                job = self.job(selection.entry, selection.untuned, seed, "untuned")
                jobs.setdefault(job.config.key, job)
        return list(jobs.values())


def score(trial: Trial, better: str) -> float:
    """Mean validation over the tuning seeds, higher is better; a divergence on any seed is the worst."""
    if any(value is None for value in trial.values):
        return -math.inf
    mean = sum(value for value in trial.values if value is not None) / len(trial.values)
    return mean if better == "higher" else -mean


def ranked(trials: list[Trial], better: str) -> list[Trial]:
    """Best first; of equals, the one tried first."""
    return sorted(trials, key=lambda trial: -score(trial, better))


def rates(trials: list[Trial]) -> list[float]:
    """The learning rates tried, ascending."""
    return sorted({float(trial.params["lr"]) for trial in trials})


def on_edge(best_first: list[Trial]) -> bool:
    """Whether the best learning rate is the lowest or the highest tried, of at least two."""
    tried = rates(best_first)
    return len(tried) > 1 and float(best_first[0].params["lr"]) in (tried[0], tried[-1])


def one_more(best_first: list[Trial]) -> Setting:
    """The additional trial: beyond the edge for a best on it, else between the best and its better neighbour."""
    tried, best = rates(best_first), dict(best_first[0].params)
    lr = float(best["lr"])
    index = tried.index(lr)
    if index == 0:
        lr = tried[0] ** 2 / tried[1] if len(tried) > 1 else lr / 3
    elif index == len(tried) - 1:
        lr = tried[-1] ** 2 / tried[-2]
    else:
        beside = [
            trial for trial in best_first[1:] if float(trial.params["lr"]) in (tried[index - 1], tried[index + 1])
        ]
        lr = math.sqrt(lr * float(beside[0].params["lr"]))
    return {**best, "lr": float(f"{lr:.3g}")}
