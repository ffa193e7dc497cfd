"""Profiles: smoke shows that everything works, quick demonstrates, full and paper give evidence."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.records.models import Family

OURS = ("thermolion", "rangerlite", "aees-adamw", "adaptive-adamw", "torcheggroll-r4")
OURS_AND_REFERENCES = (*OURS, "adamw", "openai-es")
FEWER = ("adamw", "schedulefree", "lion", "lookahead-radam", "muon", "thermolion", "rangerlite")
WRAPPERS = ("aees-adamw", "adaptive-adamw")
EVIDENCE = ("full", "paper")


@dataclass(frozen=True)
class Profile:
    """One profile: workloads, and the protocol every method goes through alike.

    Raises:
        ValueError: tuning and final seeds overlap, or there are fewer than two tuning seeds.
    """

    name: str
    about: str
    workloads: tuple[str, ...]
    points: int  # settings tried per method and workload in stage 1
    final_seeds: tuple[int, ...]
    untuned_seeds: tuple[int, ...]
    evolution_seeds: tuple[int, ...] = ()  # final seeds of evolution; empty is those of everyone
    short_seeds: tuple[int, ...] = (1000, 1001)  # stage 1: all points, a quarter of the length
    long_seeds: tuple[int, ...] = ()  # stage 2: the best quarter of the points at full length; empty: no stage 2
    documented: bool = False  # whether point 0, the documented setting, always enters stage 2
    undocumented: tuple[str, ...] = ()  # workloads whose search was finished before that rule
    widen: bool = True
    methods: tuple[str, ...] | None = None  # None is every row
    fewer: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])  # by workload
    ablations: bool = False
    rates: tuple[float, ...] = ()  # factors on the chosen rate, for the robustness of those workloads that show it
    rate_seeds: tuple[int, ...] = ()
    own_seeds: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])  # final, by workload
    fresh_seeds: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])  # by workload

    def __post_init__(self) -> None:
        """Refuses a protocol that would not be fair."""
        judged = {*self.final_seeds, *self.untuned_seeds, *self.evolution_seeds, *self.rate_seeds}
        judged.update(*self.own_seeds.values(), *self.fresh_seeds.values())
        shared = {*self.short_seeds, *self.long_seeds} & judged
        if shared:
            raise ValueError(f"tuning and final seeds must be disjoint, {sorted(shared)} are in both")
        if len(self.short_seeds) < 2:
            raise ValueError(
                f"every trial needs at least two tuning seeds, got {list(self.short_seeds)}: "
                "a setting that looks best on one seed can collapse on the next"
            )

    @property
    def kept(self) -> int:
        """How many points enter stage 2."""
        return max(1, round(self.points / 4))

    def keeps_documented(self, workload: str) -> bool:
        """Returns whether point 0 enters stage 2 of a workload whatever stage 1 makes of it."""
        return self.documented and workload not in self.undocumented

    @property
    def tuning_seeds(self) -> tuple[int, ...]:
        """Seeds of the stage that decides."""
        return self.long_seeds or self.short_seeds

    def seeds(self, family: Family, workload: str) -> tuple[int, ...]:
        """Returns the final seeds of a family on a workload."""
        of_family = self.evolution_seeds if family == "es" and self.evolution_seeds else self.final_seeds
        return self.own_seeds.get(workload, of_family)


QUICK = ("mnist5k-noise", "shakespeare", "diamonds", "int4-mnist", "cartpole")
FULL = (
    "diamonds",
    "wide-mnist",
    "mnist5k-noise",
    "mnist5k-asym",
    "mnist5k",
    "shakespeare",
    "cartpole",
    "int4-mnist",
)
NIGHTS = ("acrobot", "sentiment", "lunarlander", "minilm")

PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            "smoke",
            "does everything run? a minute, no evidence",
            (*QUICK, "wide-mnist"),
            points=1,
            final_seeds=(0, 1),
            untuned_seeds=(0,),
            widen=False,
            methods=OURS_AND_REFERENCES,
        ),
        Profile(
            "quick",
            "a demonstration on five workloads with five seeds; no evidence",
            QUICK,
            points=8,
            final_seeds=tuple(range(5)),
            untuned_seeds=(0, 1),
            long_seeds=(1000, 1001, 1002),
            widen=False,
            methods=("adamw", "schedulefree", "lion", "lookahead-radam", "muon", "openai-es", *OURS),
        ),
        Profile(
            "full",
            "evidence: two-stage search, ten seeds (evolution thirty), ablations, robustness over the rate; it resumes",
            FULL,
            points=10,
            final_seeds=tuple(range(2000, 2010)),
            evolution_seeds=tuple(range(2000, 2030)),
            untuned_seeds=(2000, 2001),
            long_seeds=(1000, 1001, 1002, 1003, 1004),
            documented=True,
            undocumented=("diamonds", "wide-mnist"),
            fewer={
                "diamonds": (*FEWER, *WRAPPERS),
                "mnist5k-noise": tuple(name for name in (*FEWER, *WRAPPERS) if name != "muon"),
                "mnist5k-asym": ("adamw", "thermolion", "rangerlite", "aees-find"),
                "shakespeare": ("adamw", "thermolion", "rangerlite"),
                "mnist5k": (*FEWER, "aees-find", "adaptive-guard"),
                "sentiment": FEWER,
                "minilm": (*FEWER[:2], "thermolion", "rangerlite"),
                "lunarlander": OURS_AND_REFERENCES,
            },
            ablations=True,
            rates=(0.1, 0.3, 3.0, 10.0),
            rate_seeds=tuple(range(2000, 2005)),
            own_seeds={"mnist5k-noise": tuple(range(2100, 2110))},  # its first search was misled, its seeds are read
            fresh_seeds={"diamonds": tuple(range(2100, 2110)), "wide-mnist": tuple(range(2100, 2130))},
        ),
        Profile(
            "paper",
            "more workloads, points and seeds, over nights; it resumes",
            (*FULL, *NIGHTS),
            points=32,
            final_seeds=tuple(range(3000, 3030)),
            untuned_seeds=tuple(range(3000, 3010)),
            long_seeds=(1000, 1001, 1002, 1003, 1004),
            documented=True,
            ablations=True,
            rates=(0.03, 0.1, 0.3, 3.0, 10.0, 30.0),
            rate_seeds=tuple(range(3000, 3010)),
        ),
    )
}


def profile_for(seeds: int, trials: int) -> Profile:
    """Returns the protocol of a comparison: that of quick, seeds and points chosen by the user."""
    return Profile(
        "compare",
        "your own task",
        (),
        points=trials,
        final_seeds=tuple(range(seeds)),
        untuned_seeds=tuple(range(min(2, seeds))),
        widen=False,
    )
