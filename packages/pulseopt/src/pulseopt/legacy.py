"""Names of release 0.1.0 that this package no longer uses; their old paths still work, with a DeprecationWarning.

Importing this module, as the package does, puts the names back on the modules that release 0.1.0 had them in.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import TypeVar

from pulseopt import controller, episode, modes, types
from pulseopt.controller import TREND_PHASE_CONTEXT_BUCKETS, BucketedContextualController
from pulseopt.episode import StructuredEpisodeManager
from pulseopt.modes import refuse_weight_decay
from pulseopt.types import CandidateConfig, StructuredSelection

SUPPORTED_STRUCTURED_AXES = ("lr", "noise")

_Candidate = TypeVar("_Candidate", bound=CandidateConfig)

_DEFAULTS = (
    ("base", 1.0, False),
    ("conservative", 0.8, False),
    ("aggressive", 1.2, False),
    ("noisy", 1.0, True),
    ("aggressive_noisy", 1.2, True),
)


PHASE_TREND_CONTEXT_BUCKETS = list(TREND_PHASE_CONTEXT_BUCKETS)
ContextualBucketedDriverController = BucketedContextualController
FactorizedEpisodeManager = StructuredEpisodeManager
FactorizedSelection = StructuredSelection
HierarchicalSelection = StructuredSelection
ExplorationModeConfig = CandidateConfig


class HierarchicalEpisodeManager:
    """Refuses to be built, as in release 0.1.0, and names its replacement.

    Raises:
        NotImplementedError: always.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise NotImplementedError(
            "HierarchicalEpisodeManager was removed from the AEES v1.0.0 structured path. Use "
            "StructuredEpisodeManager with structured_control_mode='independent' or 'conditional'."
        )


@dataclass(frozen=True)
class StepStats:
    """The reward of one arm in one step."""

    step_index: int
    mode_id: int
    reward: float


class ExplorationMode(CandidateConfig):
    """A candidate under its older name, with the noise deviation under either of its names.

    Args:
        name: not empty.
        lr_multiplier: factor on the learning rate, above 0.
        grad_noise_std: standard deviation of the gradient noise, at least 0.
        noise_std: the same; wins where both are given.

    Raises:
        ValueError: an argument lies outside its range.
    """

    def __init__(
        self, name: str, lr_multiplier: float = 1.0, grad_noise_std: float = 0.0, noise_std: float | None = None
    ) -> None:
        super().__init__(name, lr_multiplier, grad_noise_std if noise_std is None else noise_std)


def build_default_candidate_configs(noise_std: float) -> list[CandidateConfig]:
    """Returns five named candidates: factors 0.8, 1 and 1.2, the last two also with noise.

    Raises:
        ValueError: ``noise_std`` is negative or not finite.
    """
    if noise_std < 0.0:
        raise ValueError("noise_std must be non-negative.")
    return [CandidateConfig(name, factor, noise_std if noisy else 0.0) for name, factor, noisy in _DEFAULTS]


def build_default_modes(noise_std: float) -> list[ExplorationMode]:
    """Returns `build_default_candidate_configs` as exploration modes."""
    return [_as_mode(candidate) for candidate in build_default_candidate_configs(noise_std)]


def parse_mode_names(mode_names_str: str) -> list[str]:
    """Returns the names in a text, separated by commas.

    Raises:
        ValueError: there is none.
    """
    names = _parts(mode_names_str)
    if not names:
        raise ValueError("mode_names must contain at least one non-empty mode name.")
    return names


def parse_lr_candidates(lr_candidates_str: str) -> list[float]:
    """Returns the learning-rate factors in a text, separated by commas.

    Raises:
        ValueError: there is no number, or one is not above 0, not finite, or repeated.
    """
    return _parse_floats("lr_candidates", lr_candidates_str, zero=False)


def parse_noise_candidates(noise_candidates_str: str) -> list[float]:
    """Returns the noise deviations in a text, separated by commas.

    Raises:
        ValueError: there is no number, or one is negative, not finite, or repeated.
    """
    return _parse_floats("noise_candidates", noise_candidates_str, zero=True)


def parse_weight_decay_candidates(weight_decay_candidates_str: str) -> list[float]:
    """Raises: weight decay is not a candidate.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        "Adaptive weight_decay candidates were removed in AEES v1.0.0. "
        "Keep weight decay as a normal optimizer hyperparameter."
    )


def filter_candidate_configs_by_name(
    candidate_configs: Sequence[CandidateConfig], selected_names: list[str]
) -> list[CandidateConfig]:
    """Returns the named candidates, in the order of the names.

    Raises:
        ValueError: no names, one there twice, or one that no candidate has.
    """
    if not selected_names:
        raise ValueError("selected_names must contain at least one candidate name.")
    for position, name in enumerate(selected_names):
        if name in selected_names[:position]:
            raise ValueError(f"Duplicate candidate config name requested: '{name}'.")
    return [get_candidate_config_by_name(candidate_configs, name) for name in selected_names]


def filter_modes_by_name(modes: list[ExplorationMode], selected_names: list[str]) -> list[ExplorationMode]:
    """Returns the named modes, in the order of the names; errors as in `filter_candidate_configs_by_name`."""
    return [_as_mode(candidate) for candidate in filter_candidate_configs_by_name(modes, selected_names)]


def get_candidate_config_by_name(candidate_configs: Sequence[CandidateConfig], name: str) -> CandidateConfig:
    """Returns the candidate of this name.

    Raises:
        ValueError: there is none.
    """
    return _find(candidate_configs, name, "candidate config", "candidate configs")


def get_mode_by_name(modes: list[ExplorationMode], name: str) -> ExplorationMode:
    """Returns the mode of this name.

    Raises:
        ValueError: there is none.
    """
    return _find(modes, name, "exploration mode", "modes")


def get_axis_candidate_values(
    lr_candidates: list[float],
    noise_candidates: list[float],
    weight_decay_candidates: list[float] | None,
    axis_name: str,
) -> list[float]:
    """Returns the candidates of the axis ``"lr"`` or ``"noise"``.

    Raises:
        ValueError: the axis does not exist.
    """
    axes = {"lr": lr_candidates, "noise": noise_candidates}
    if axis_name not in axes:
        raise ValueError(f"Unsupported structured axis '{axis_name}' in AEES v1.0.0.")
    return list(axes[axis_name])


def get_non_driver_structured_axes(driver_axis: str) -> list[str]:
    """Returns the axes other than this one.

    Raises:
        ValueError: the axis does not exist.
    """
    validate_structured_axis_name(driver_axis)
    return [name for name in SUPPORTED_STRUCTURED_AXES if name != driver_axis]


def validate_structured_axis_name(axis_name: str) -> str:
    """Returns the name of an axis.

    Raises:
        ValueError: the axis does not exist.
    """
    if axis_name not in SUPPORTED_STRUCTURED_AXES:
        raise ValueError(f"axis_name must be one of {', '.join(SUPPORTED_STRUCTURED_AXES)}, got '{axis_name}'.")
    return axis_name


def resolve_structured_driver_axis(
    lr_candidates: list[float],
    noise_candidates: list[float],
    weight_decay_candidates: list[float] | None,
    requested_driver_axis: str | None,
) -> str:
    """Returns the requested axis, or the first one with several candidates, or ``"lr"``.

    Raises:
        ValueError: the requested axis does not exist, or has one candidate while another has several.
    """
    refuse_weight_decay(weight_decay_candidates)
    axes = {"lr": lr_candidates, "noise": noise_candidates}
    adaptive = [name for name, values in axes.items() if len(values) > 1]
    if requested_driver_axis is None:
        return adaptive[0] if adaptive else "lr"
    validate_structured_axis_name(requested_driver_axis)
    if adaptive and requested_driver_axis not in adaptive:
        raise ValueError(f"requested_driver_axis '{requested_driver_axis}' is not adaptive.")
    return requested_driver_axis


def estimate_hierarchical_controller_count(
    lr_candidates: list[float],
    noise_candidates: list[float],
    weight_decay_candidates: list[float] | None,
    driver_axis: str,
) -> int:
    """Returns 1, plus one controller per candidate of the driver for every other axis with several candidates.

    Raises:
        ValueError: the axis does not exist, or weight decay varies.
    """
    refuse_weight_decay(weight_decay_candidates)
    validate_structured_axis_name(driver_axis)
    axes = {"lr": lr_candidates, "noise": noise_candidates}
    adaptive_others = [name for name in get_non_driver_structured_axes(driver_axis) if len(axes[name]) > 1]
    return 1 + len(axes[driver_axis]) * len(adaptive_others)


def _find(candidates: Sequence[_Candidate], name: str, kind: str, kinds: str) -> _Candidate:
    for candidate in candidates:
        if candidate.name == name:
            return candidate
    available = ", ".join(candidate.name for candidate in candidates) or "<none>"
    raise ValueError(f"Unknown {kind} '{name}'. Available {kinds}: {available}.")


def _as_mode(candidate: CandidateConfig) -> ExplorationMode:
    return ExplorationMode(candidate.name, candidate.lr_multiplier, candidate.noise_std)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _parse_floats(name: str, text: str, zero: bool) -> list[float]:
    parts = _parts(text)
    if not parts:
        raise ValueError(f"{name} must contain at least one value.")
    values: list[float] = []
    for part in parts:
        try:
            value = float(part)
        except ValueError:
            raise ValueError(f"Invalid value '{part}' in {name}.") from None
        if value < 0.0 or (value == 0.0 and not zero):
            raise ValueError(f"{name} values must be {'non-negative' if zero else 'positive'}.")
        if not math.isfinite(value):
            raise ValueError(f"{name} values must be finite, got '{part}'.")
        if value in values:
            raise ValueError(f"{name} contains a duplicate value: {value}.")
        values.append(value)
    return values


def _moved(module: str, name: str) -> object:
    """Returns what the module had under this name in release 0.1.0, and warns that it has moved here.

    Raises:
        AttributeError: nothing of this name has moved.
    """
    value = None if name.startswith("_") else globals().get(name)
    if value is None or isinstance(value, ModuleType):
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    warnings.warn(
        f"{module}.{name} is kept for release 0.1.0's sake and nothing here uses it; import it from pulseopt.legacy",
        DeprecationWarning,
        stacklevel=2,
    )
    return value


for _module in (controller, episode, modes, types):  # set from here, so that they need not know of this module
    _module.__dict__["__getattr__"] = partial(_moved, _module.__name__)
