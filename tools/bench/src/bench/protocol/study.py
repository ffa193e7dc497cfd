"""The study of a workload: search every method's box in two stages, then run the final, untuned and rate runs.

A study is a generator. It yields the jobs it needs next and receives their runs; it never knows where they ran, or
whether they were found finished in the record file.
"""

from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from bench.methods.method import Method
from bench.methods.table import METHODS
from bench.protocol.claims import CLAIMS, Claim
from bench.protocol.job import Job
from bench.protocol.profiles import Profile
from bench.protocol.search import Setting, Space, at_rate, ranked, space_of
from bench.records.models import PROTOCOL, Config, Family, Role, Run, Selection, Trial
from bench.workloads.base import Budget, Workload

Runs = Mapping[str, Run]
Tried = dict[str, list[Trial]]


@dataclass(frozen=True)
class Need:
    """What a study asks for, and the choices it has just made."""

    jobs: list[Job]
    selections: list[Selection]


class Load(NamedTuple):
    """How many runs an entry needs, of a quarter of the length and of the full one."""

    short: int
    full: int


@dataclass(frozen=True)
class Study:
    """One family of entries on one workload under one profile."""

    profile: Profile
    workload: Workload
    family: Family
    entries: list[str]
    device: str = "cpu"
    workers: int = 1
    task_path: str = ""
    task_digest: str = ""
    run_seconds: Mapping[str, float] = field(default_factory=dict[str, float])  # of a task that costs.json knows not

    @property
    def name(self) -> str:
        """What a progress line calls it."""
        return f"{self.workload.title}" + (" (evolution)" if self.family == "es" else "")

    @property
    def budget(self) -> Budget:
        """The full length of a run."""
        return self.workload.budgets[self.profile.name][self.family]

    @property
    def short(self) -> Budget:
        """The length of a run of stage 1."""
        return self.budget.short(self.workload.short)

    @property
    def searched(self) -> list[str]:
        """The entries with a search of their own."""
        return [entry for entry in self.entries if not self._method(entry).ablates]

    def job(self, entry: str, params: Setting, seed: int, role: Role, budget: Budget | None = None) -> Job:
        """Returns one run of this study, of the full length unless a budget is given."""
        config = Config(
            workload=self.workload.id,
            family=self.family,
            budget=asdict(budget or self.budget),
            entry=entry,
            params=params,
            seed=seed,
            device=self.device,
            data=self.workload.fingerprints(),
            task=self.task_digest,
            version=self.workload.version,
        )
        return Job(config, role, self.profile.name, self.workers, self.task_path)

    def expected_runs(self) -> dict[str, Load]:
        """Returns the runs per entry if nobody is widened."""
        profile = self.profile
        tail = len(profile.seeds(self.family, self.workload.id))
        fresh = len(self._fresh_seeds)
        kept = profile.kept + profile.keeps_documented(self.workload.id)
        late = {*profile.long_seeds} - ({*profile.short_seeds} if self.short == self.budget else set())
        search = Load(profile.points * len(profile.short_seeds), kept * len(late))
        found: dict[str, Load] = {}
        for entry in self.entries:
            long = tail + len(profile.rates) * len(self._rate_seeds(entry)) + fresh * len(self._fresh_factors(entry))
            if entry in self.searched:
                found[entry] = Load(search.short, search.full + long + len(profile.untuned_seeds))
            else:
                found[entry] = Load(0, long)
        return found

    def go(self) -> Generator[Need, Runs, None]:
        """Runs the whole protocol."""
        profile = self.profile
        tried: Tried = {entry: [] for entry in self.searched}
        yield from self._try({entry: self.space(entry).points(profile.points) for entry in tried}, 1, tried)
        wider = self._beyond(tried)
        yield from self._try(wider, 1, tried)
        if profile.long_seeds:
            yield from self._try({entry: self._best(entry, trials) for entry, trials in tried.items()}, 2, tried)
            late = {entry: some for entry, some in self._beyond(tried).items() if entry not in wider}
            yield from self._try(late, 1, tried)
            yield from self._try(
                {entry: self._best(entry, tried[entry][-len(late[entry]) :]) for entry in late}, 2, tried
            )
            wider |= late
        selections = {entry: self._select(entry, trials, entry in wider) for entry, trials in tried.items()}
        for entry in self.entries:
            method = self._method(entry)
            if method.setting_of in selections:
                selections[entry] = self._ablation(entry, selections[method.setting_of])
        yield Need(self._final_jobs(list(selections.values())), list(selections.values()))

    def _try(self, settings: Mapping[str, list[Setting]], stage: int, tried: Tried) -> Generator[Need, Runs, None]:
        """Asks for the runs of one stage, and adds their trials to those that were tried."""
        if settings:
            runs = yield Need(self._tuning_jobs(settings, stage), [])
            for entry, some in settings.items():
                tried[entry] += self._trials(entry, some, stage, runs)

    def _best(self, entry: str, trials: list[Trial]) -> list[Setting]:
        """Returns the best quarter of the points that a profile asks for, and point 0 where it always goes on."""
        order = [trial.params for trial in self._ranked(trials)]
        kept, rest = order[: self.profile.kept], order[self.profile.kept :]
        documented = self.space(entry).recommended()
        return [*kept, documented] if documented in rest and self._keeps_documented else kept

    def space(self, entry: str) -> Space:
        """Returns what is searched for an entry."""
        return space_of(self._method(entry), self.workload.rewards, self.workload.lr_factor)

    @property
    def _keeps_documented(self) -> bool:
        return self.profile.keeps_documented(self.workload.id)

    def _rate_seeds(self, entry: str) -> tuple[int, ...]:
        """Returns the seeds on which an entry runs at other rates: all final ones for a claim over the rate."""
        method = self._method(entry)
        if self.family != "gradient" or not self.profile.rates or (method.ablates and not method.at_rates):
            return ()
        if any(claim.over_rates for claim in self._claims(entry)):
            return self.profile.seeds(self.family, self.workload.id)
        return self.profile.rate_seeds if self.workload.robustness else ()

    def _turn(self, entry: str) -> tuple[int, bool]:
        """Sorts the entries: those of claims over the rate, those of other claims, the others; the claimant first."""
        return min(
            ((int(not claim.over_rates), entry != claim.entry) for claim in self._claims(entry)), default=(2, True)
        )

    @property
    def _fresh_seeds(self) -> tuple[int, ...]:
        """Returns the seeds that judge the claims on this workload once more."""
        return self.profile.fresh_seeds.get(self.workload.id, ())

    def _fresh_factors(self, entry: str) -> list[float]:
        """Returns the factors on its chosen rate at which an entry runs on the fresh seeds: those of its claims."""
        found = [factor for claim in self._claims(entry) for factor in claim.factors(entry, self.profile.rates)]
        return list(dict.fromkeys(found)) if self._fresh_seeds else []

    def _claims(self, entry: str) -> list[Claim]:
        here = (self.workload.id, self.family)
        return [c for c in CLAIMS if (c.workload, c.family) == here and entry in (c.entry, c.against)]

    def _method(self, entry: str) -> Method:
        return METHODS[entry]

    def _beyond(self, tried: Tried) -> dict[str, list[Setting]]:
        """Returns more settings for the entries whose best lies in the outer tenth of their box."""
        best = {entry: self._ranked(trials)[0].params for entry, trials in tried.items() if self.profile.widen}
        points = {entry: sum(trial.stage == 1 for trial in trials) for entry, trials in tried.items()}
        return {
            entry: self.space(entry).beyond(params, self.profile.kept, points[entry])
            for entry, params in best.items()
            if self.space(entry).is_outer(params)
        }

    def _stage(self, stage: int) -> tuple[Budget, tuple[int, ...]]:
        if stage == 1:
            return self.short, self.profile.short_seeds
        return self.budget, self.profile.long_seeds

    def _tuning_jobs(self, settings: Mapping[str, list[Setting]], stage: int) -> list[Job]:
        """Setting by setting, entry by entry: the first results of all entries come first."""
        budget, seeds = self._stage(stage)
        longest = max(len(some) for some in settings.values())
        return [
            self.job(entry, some[i], seed, "tune", budget)
            for i in range(longest)
            for entry, some in settings.items()
            if i < len(some)
            for seed in seeds
        ]

    def _trials(self, entry: str, settings: list[Setting], stage: int, runs: Runs) -> list[Trial]:
        budget, seeds = self._stage(stage)
        return [
            Trial(
                params=setting,
                values=[runs[self.job(entry, setting, seed, "tune", budget).config.key].value for seed in seeds],
                stage=stage,
            )
            for setting in settings
        ]

    def _ranked(self, trials: list[Trial]) -> list[Trial]:
        return ranked(trials, self.workload.better)

    def _select(self, entry: str, trials: list[Trial], widened: bool) -> Selection:
        profile, space, chosen = self.profile, self.space(entry), self._ranked(trials)[0].params
        rate_seeds = self._rate_seeds(entry)
        return Selection(
            profile=profile.name,
            workload=self.workload.id,
            family=self.family,
            entry=entry,
            budget=asdict(self.budget),
            better=self.workload.better,
            metric=self.workload.metric,
            trials=trials,
            tuning_seeds=list(profile.tuning_seeds),
            final_seeds=list(profile.seeds(self.family, self.workload.id)),
            untuned_seeds=list(profile.untuned_seeds),
            chosen=chosen,
            untuned=space.recommended(),
            widened=widened,
            edge=profile.points > 1 and space.is_edge(chosen, widened),
            protocol=PROTOCOL,
            short_budget=asdict(self.short),
            rates=list(profile.rates) if rate_seeds else None,
            rate_seeds=list(rate_seeds) or None,
            margin=self.workload.margin,
            documented=self._keeps_documented or None,
            fresh_seeds=self._judges_again(entry),
        )

    def _ablation(self, entry: str, of: Selection) -> Selection:
        """Returns the choice of an ablation: that of the whole method, one thing changed."""
        chosen = {**of.chosen, **self._method(entry).instead}
        changed: dict[str, object] = {"entry": entry, "chosen": chosen, "untuned": chosen, "digest": ""}
        more: dict[str, object] = {"untuned_seeds": [], "trials": [], "follows": of.entry}
        seeds = self._rate_seeds(entry)
        rates = {"rates": list(self.profile.rates) if seeds else None, "rate_seeds": list(seeds) or None}
        return of.model_copy(update=changed | more | rates | {"fresh_seeds": self._judges_again(entry)})

    def _judges_again(self, entry: str) -> list[int] | None:
        return list(self._fresh_seeds) if self._fresh_factors(entry) else None

    def _final_jobs(self, selections: list[Selection]) -> list[Job]:
        """Seed by seed, so that a run cut short still has pairs; the final runs first, then what judges a claim."""
        jobs: dict[str, Job] = {}

        def ask(selection: Selection, params: Setting, seed: int, role: Role) -> None:
            job = self.job(selection.entry, params, seed, role)
            jobs.setdefault(job.config.key, job)

        for seed in self.profile.seeds(self.family, self.workload.id):
            for selection in selections:
                ask(selection, selection.chosen, seed, "final")
        for selection in sorted(selections, key=lambda selection: self._turn(selection.entry)):
            for seed in selection.untuned_seeds:
                ask(selection, selection.untuned, seed, "untuned")
            for factor in selection.rates or []:
                for seed in selection.rate_seeds or []:
                    ask(selection, at_rate(selection.chosen, factor), seed, "rate")
        for seed in self._fresh_seeds:
            for selection in selections:
                for factor in self._fresh_factors(selection.entry):
                    ask(selection, at_rate(selection.chosen, factor), seed, "fresh")
        return list(jobs.values())
