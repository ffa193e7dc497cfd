"""How much is run: smoke shows that everything works, quick gives an answer, full and paper give evidence."""

from dataclasses import dataclass

OURS = ("thermolion", "rangerlite", "aees-adamw", "adaptive-adamw", "torcheggroll")
OURS_AND_REFERENCES = (*OURS, "adamw", "openai-es")


@dataclass(frozen=True)
class Profile:
    """One profile: workloads, and the protocol every method goes through alike.

    Raises:
        ValueError: tuning and final seeds overlap, or there are fewer than two tuning seeds.
    """

    name: str
    about: str
    workloads: tuple[str, ...]
    trials: int  # settings tried per method and workload
    final_seeds: tuple[int, ...]
    untuned_seeds: tuple[int, ...]
    tuning_seeds: tuple[int, ...] = (1000, 1001)
    widen: bool = True  # one more trial for everyone when somebody's best lies on the edge of its grid
    methods: tuple[str, ...] | None = None  # None is all
    cosine: tuple[str, ...] | None = ("adamw",)  # who also runs under warm-up and cosine; None is all

    def __post_init__(self) -> None:
        """Refuse a protocol that would not be fair."""
        shared = set(self.tuning_seeds) & {*self.final_seeds, *self.untuned_seeds}
        if shared:
            raise ValueError(f"tuning and final seeds must be disjoint, {sorted(shared)} are in both")
        if len(self.tuning_seeds) < 2:
            raise ValueError(
                f"every trial needs at least two tuning seeds, got {list(self.tuning_seeds)}: "
                "a setting that looks best on one seed can collapse on the next"
            )


QUICK = ("mnist5k-noise", "shakespeare", "diamonds", "mnist5k", "int4-mnist", "cartpole")
FULL = (*QUICK, "acrobot", "mnist5k-asym", "lunarlander", "minilm")

PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            "smoke",
            "does everything run? a minute, no evidence",
            QUICK,
            trials=1,
            final_seeds=(0, 1),
            untuned_seeds=(0,),
            widen=False,
            methods=OURS_AND_REFERENCES,
            cosine=(),
        ),
        Profile(
            "quick",
            "a first answer on six workloads with five seeds",
            QUICK,
            trials=4,
            final_seeds=tuple(range(5)),
            untuned_seeds=(0, 1),
        ),
        Profile(
            "full",
            "longer runs, ten seeds, more workloads, ours and AdamW with and without warm-up and cosine",
            FULL,
            trials=4,
            final_seeds=tuple(range(10)),
            untuned_seeds=(0, 1),
            cosine=("adamw", *OURS),
        ),
        Profile(
            "paper",
            "much longer runs and twenty seeds, over nights; it resumes",
            FULL,
            trials=8,
            final_seeds=tuple(range(20)),
            untuned_seeds=tuple(range(10)),
            tuning_seeds=(1000, 1001, 1002),
            cosine=None,
        ),
    )
}


def profile_for(seeds: int, trials: int) -> Profile:
    """The protocol of a comparison: that of quick, with the number of seeds and trials chosen by the user."""
    return Profile(
        "compare",
        "your own task",
        (),
        trials=trials,
        final_seeds=tuple(range(seeds)),
        untuned_seeds=tuple(range(min(2, seeds))),
    )
