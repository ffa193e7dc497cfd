"""The hyper-parameters of the optimizer: their checks, and those that a checkpoint holds."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from ._checks import check, check_integer
from ._evaluate.evaluator import ENGINES
from .fitness import SHAPINGS
from .noise.distributions import DISTRIBUTIONS

SAVED = (
    "pop_size", "sigma", "rank", "antithetic", "normalize_fitness", "fitness", "scale", "noise", "noise_reuse",
    "group_size", "weight_decay", "max_update_norm", "seed", "sigma_shares", "sigma_limit", "adapt_sigma",
    "small_matrices", "stacked_matrices", "module_state",
)  # fmt: skip
SCALES = ("hyperscale", "paper", "unbiased")
SMALL_MATRICES = ("dense", "factored")
STACKED_MATRICES = ("separate", "flattened")
MODULE_STATES = ("restore", "centre")


class Settings(NamedTuple):
    """The user's settings; ``check_settings`` holds the condition on each."""

    pop_size: int
    sigma: float
    rank: int
    antithetic: bool
    fitness: str | Callable[[Tensor], Tensor]
    scale: str
    engine: str
    chunk_size: int | None
    memory_budget: int | None
    noise: str
    noise_reuse: int
    group_size: int | None
    weight_decay: float
    max_update_norm: float | None
    adapt_sigma: bool
    small_matrices: str
    stacked_matrices: str
    module_state: str


def check_settings(s: Settings) -> None:
    """Refuses what no run can use.

    Raises:
        ValueError: a wrong value.
        TypeError: a wrong kind of value.
    """
    check_integer("pop_size", s.pop_size, "[1, inf)")
    check_integer("rank", s.rank, "[1, inf)")
    check("sigma", s.sigma, "[0, inf)")
    check("weight_decay", s.weight_decay, "[0, inf)")
    check_integer("noise_reuse", s.noise_reuse, "[0, inf)")
    for name in ("chunk_size", "memory_budget", "group_size"):
        value = getattr(s, name)
        if value is not None:
            check_integer(name, value, "[1, inf)")
    if s.max_update_norm is not None:
        check("max_update_norm", s.max_update_norm, "(0, inf)")
    if s.antithetic and s.pop_size % 2:
        raise ValueError(
            "pop_size must be even when using antithetic sampling, "
            f"got {s.pop_size}; use {s.pop_size + 1}, or pass antithetic=False"
        )
    _check_choices(s)


def _check_choices(s: Settings) -> None:
    shapings = (*SHAPINGS, "group")
    for name, value, known in (
        ("scale", s.scale, SCALES),
        ("small_matrices", s.small_matrices, SMALL_MATRICES),
        ("stacked_matrices", s.stacked_matrices, STACKED_MATRICES),
        ("module_state", s.module_state, MODULE_STATES),
        ("engine", s.engine, ENGINES),
        ("noise", s.noise, tuple(DISTRIBUTIONS)),
        ("fitness", s.fitness, shapings),
    ):
        if value not in known and not (name == "fitness" and callable(value)):
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    if s.scale == "unbiased" and not s.sigma > 0:
        raise ValueError(f"sigma must be in (0, inf) when scale='unbiased', got {s.sigma!r}; it divides the estimate")
    if s.adapt_sigma and not s.antithetic:
        raise ValueError("adapt_sigma compares the two members of a pair; pass antithetic=True")
    if s.fitness == "sign" and not s.antithetic:
        raise ValueError("fitness='sign' compares the two members of a pair; pass antithetic=True")
    if (s.fitness == "group") != (s.group_size is not None):
        raise ValueError(
            f"group_size must be given with fitness='group' and only then, got {s.group_size} with {s.fitness!r}"
        )
    if s.group_size is not None and s.pop_size % s.group_size:
        raise ValueError(f"group_size must divide pop_size, got {s.group_size} for {s.pop_size}")


def check_same_parameters(own: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """Refuses a checkpoint of other parameters.

    Raises:
        ValueError: a name or a shape differs.
    """
    shapes = [{name: tuple(value.shape) for name, value in given.items()} for given in (own, saved)]
    if shapes[0] != shapes[1]:
        wrong = sorted(name for name in own.keys() | saved.keys() if shapes[0].get(name) != shapes[1].get(name))
        raise ValueError(f"the checkpoint must hold this model's evolved parameters; these differ: {', '.join(wrong)}")
