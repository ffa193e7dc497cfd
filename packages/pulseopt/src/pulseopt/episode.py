"""Episode managers: one candidate for a number of steps, then its reward, then the next candidate."""

from collections import deque
from typing import Any

from pulseopt._axes import CONTROL_MODES, check_context, check_controllers, checked_axis
from pulseopt._checks import check_integer
from pulseopt._episode import EpisodeKeeper, OpenEpisode
from pulseopt._maths.context import phase, trend
from pulseopt._records.checkpoint import stateful
from pulseopt._records.log import CHOSEN_COLUMNS, CONTEXT_COLUMNS
from pulseopt.controller import BaseController
from pulseopt.modes import build_generated_candidate_name
from pulseopt.reward import BaseReward
from pulseopt.types import CandidateConfig, EpisodeSummary, StructuredSelection

EPSILON_MODES = ("absolute", "relative")


class EpisodeManager(EpisodeKeeper):
    """One controller over a list of candidates.

    Args:
        modes: the candidates, at least one; arm i is ``modes[i]``.
        controller: chooses the arm of each episode.
        reward_fn: scores a closed episode.
        episode_length: steps of an episode, at least 1.
        ema_alpha: weight of the newest loss in the moving average, in (0, 1].
        eps: kept from release 0.1.0, where it has no effect either; above 0.
        reward_baseline: ``"episode"`` or ``"ema"``, where an episode's moving average begins.
        log_limit: episodes that the log keeps; None keeps all.

    Raises:
        ValueError: an argument lies outside its range.
    """

    def __init__(
        self,
        modes: list[CandidateConfig],
        controller: BaseController,
        reward_fn: BaseReward,
        episode_length: int,
        ema_alpha: float = 0.1,
        eps: float = 1e-12,
        *,
        reward_baseline: str = "episode",
        log_limit: int | None = None,
    ) -> None:
        if not modes:
            raise ValueError("modes must contain at least one candidate config.")
        _check_length(episode_length)
        columns = ("selected_mode_ids", "selected_mode_names"), ()
        super().__init__(reward_fn, episode_length, ema_alpha, eps, reward_baseline, columns, log_limit)
        self._modes = list(modes)
        self._controller = controller

    def state_dict(self) -> dict[str, Any]:
        """Return everything the next step depends on, and the log, as plain values.

        Raises:
            TypeError: the controller cannot be saved.
        """
        return {**super().state_dict(), "controller": stateful(self._controller).state_dict()}

    def _load(self, state_dict: dict[str, Any]) -> None:
        super()._load(state_dict)
        if self._episode is not None:
            self._episode.candidate = self._modes[self._episode.mode_id]
        stateful(self._controller).load_state_dict(state_dict["controller"])

    def _settings(self) -> dict[str, Any]:
        modes = [[mode.name, mode.lr_multiplier, mode.noise_std] for mode in self._modes]
        return {**super()._settings(), "modes": modes}

    def _choose(self, global_step: int) -> tuple[int, CandidateConfig]:
        arm = _checked_arm(self._controller.select_mode(), len(self._modes), "controller", "mode")
        return arm, self._modes[arm]

    def _learn(self, episode: OpenEpisode, summary: EpisodeSummary, reward: float) -> dict[str, object]:
        self._controller.update(episode.mode_id, reward)
        return {"selected_mode_ids": summary.mode_id, "selected_mode_names": summary.mode_name}


class StructuredEpisodeManager(EpisodeKeeper):
    """Controllers over two axes: factors on the learning rate, deviations of gradient noise.

    Args:
        lr_candidates: the factors, each above 0, finite and there once.
        noise_candidates: the deviations, each at least 0, finite and there once.
        lr_controller: chooses the factor; None where there is one. In joint mode it chooses the pair, numbered
            ``lr_index * len(noise_candidates) + noise_index``.
        noise_controller: chooses the deviation; None where there is one, and in joint mode. In conditional mode with
            several factors a list, one controller for each factor.
        reward_fn: scores a closed episode.
        episode_length: steps of an episode, at least 1.
        structured_control_mode: ``"independent"``, ``"conditional"`` or ``"joint"``.
        context_mode: ``"none"``, ``"trend"`` or ``"trend_phase"``: what controllers are told before they choose.
        total_training_steps: steps of the run, for the phase.
        context_trend_window: how many episodes the trend looks back on, at least 1.
        context_trend_epsilon: the change of loss from one episode to the next that still counts as stable, at least 0.
        ema_alpha: weight of the newest loss in the moving average, in (0, 1].
        eps: kept from release 0.1.0, where it has no effect either; above 0.
        context_trend_epsilon_mode: ``"absolute"``: epsilon is in units of the loss; ``"relative"``: in units of the
            window's mean absolute loss.
        reward_baseline: ``"episode"`` or ``"ema"``, where an episode's moving average begins.
        log_limit: episodes that the log keeps; None keeps all.

    Raises:
        TypeError: the controllers do not fit the axes.
        ValueError: an argument lies outside its range.
    """

    def __init__(
        self,
        lr_candidates: list[float],
        noise_candidates: list[float],
        lr_controller: BaseController | None,
        noise_controller: BaseController | list[BaseController] | None,
        reward_fn: BaseReward,
        episode_length: int,
        structured_control_mode: str = "independent",
        context_mode: str = "none",
        total_training_steps: int | None = None,
        context_trend_window: int = 3,
        context_trend_epsilon: float = 1e-3,
        ema_alpha: float = 0.1,
        eps: float = 1e-12,
        *,
        context_trend_epsilon_mode: str = "absolute",
        reward_baseline: str = "episode",
        log_limit: int | None = None,
    ) -> None:
        self._lrs = checked_axis("lr_candidates", lr_candidates, zero=False)
        self._noises = checked_axis("noise_candidates", noise_candidates, zero=True)
        _check_length(episode_length)
        if structured_control_mode not in CONTROL_MODES:
            raise ValueError(
                "structured_control_mode must be 'independent' or 'conditional'. "
                f"Or 'joint', one controller over all pairs; got {structured_control_mode!r}"
            )
        check_context(context_mode, total_training_steps, context_trend_window, context_trend_epsilon)
        if context_trend_epsilon_mode not in EPSILON_MODES:
            modes = list(EPSILON_MODES)
            raise ValueError(f"context_trend_epsilon_mode must be one of {modes}, got {context_trend_epsilon_mode!r}")
        check_controllers(structured_control_mode, len(self._lrs), len(self._noises), lr_controller, noise_controller)
        columns = list(CHOSEN_COLUMNS), [] if context_mode == "none" else list(CONTEXT_COLUMNS)
        super().__init__(reward_fn, episode_length, ema_alpha, eps, reward_baseline, columns, log_limit)
        self._lr_controller = lr_controller
        self._noise_controller = noise_controller
        self._mode = structured_control_mode
        self._context_mode = context_mode
        self._total_steps = total_training_steps
        self._epsilon = context_trend_epsilon
        self._epsilon_mode = context_trend_epsilon_mode
        self._window: deque[float] = deque(maxlen=context_trend_window)
        self._selection: StructuredSelection | None = None

    @property
    def controllers(self) -> dict[str, BaseController]:
        """The controllers by name: ``"lr"`` and ``"noise"``, ``"noise given lr 0"`` and so on, or ``"joint"``."""
        named: dict[str, BaseController] = {}
        if self._lr_controller is not None:
            named["joint" if self._mode == "joint" else "lr"] = self._lr_controller
        if isinstance(self._noise_controller, list):
            named.update({f"noise given lr {i}": part for i, part in enumerate(self._noise_controller)})
        elif self._noise_controller is not None:
            named["noise"] = self._noise_controller
        return named

    def arm_names(self, controller: str) -> list[str]:
        """Return what the arms of one of `controllers` are called: ``"lr0.5"``, ``"n0.01"``, or both for a pair."""
        lrs, noises = [f"lr{value:g}" for value in self._lrs], [f"n{value:g}" for value in self._noises]
        if controller == "joint":
            return [f"{lr}_{noise}" for lr in lrs for noise in noises]
        return lrs if controller == "lr" else noises

    def state_dict(self) -> dict[str, Any]:
        """Return everything the next step depends on, and the log, as plain values.

        Raises:
            TypeError: a controller cannot be saved.
        """
        selection = self._selection
        return {
            **super().state_dict(),
            "selection": selection and {name: getattr(selection, name) for name in selection.__dataclass_fields__},
            "window": list(self._window),
            "controllers": {name: stateful(part).state_dict() for name, part in self.controllers.items()},
        }

    def _load(self, state_dict: dict[str, Any]) -> None:
        super()._load(state_dict)
        selection = state_dict["selection"]
        self._selection = None if selection is None else StructuredSelection(**selection)
        self._window = deque(state_dict["window"], maxlen=self._window.maxlen)
        for name, part in self.controllers.items():
            stateful(part).load_state_dict(state_dict["controllers"][name])

    def _settings(self) -> dict[str, Any]:
        return {
            **super()._settings(),
            "lr_candidates": list(self._lrs),
            "noise_candidates": list(self._noises),
            "structured_control_mode": self._mode,
            "context_mode": self._context_mode,
            "total_training_steps": self._total_steps,
            "context_trend_window": self._window.maxlen,
            "context_trend_epsilon": self._epsilon,
            "context_trend_epsilon_mode": self._epsilon_mode,
        }

    def _choose(self, global_step: int) -> tuple[int, CandidateConfig]:
        moved, stage, bucket = self._context(global_step)
        if self._mode == "joint":
            pairs = len(self._lrs) * len(self._noises)
            pair = _ask(self._lr_controller, "lr_controller", pairs, bucket)
            lr_index, noise_index = divmod(pair, len(self._noises))
        else:
            lr_index = _ask(self._lr_controller, "lr_controller", len(self._lrs), bucket)
            controller = self._noise_controller_of(lr_index)
            noise_index = _ask(controller, "noise_controller", len(self._noises), bucket)
        lr, noise = self._lrs[lr_index], self._noises[noise_index]
        name = build_generated_candidate_name(lr, noise)
        self._selection = StructuredSelection(
            lr_index, noise_index, lr, noise, name, bucket, context_trend=moved, context_phase=stage
        )
        return lr_index * len(self._noises) + noise_index, CandidateConfig(name, lr, noise)

    def _context(self, global_step: int) -> tuple[str | None, str | None, str | None]:
        """Return the trend, the phase and the bucket."""
        if self._context_mode == "none":
            return None, None, None
        moved = trend(list(self._window), self._epsilon, self._epsilon_mode == "relative")
        if self._context_mode == "trend":
            return moved, None, moved
        stage = phase(global_step, self._total_steps or 1)
        return moved, stage, f"{stage}_{moved}"

    def _learn(self, episode: OpenEpisode, summary: EpisodeSummary, reward: float) -> dict[str, object]:
        selection, self._selection = self._selection, None
        assert selection is not None
        if self._lr_controller is not None:
            self._lr_controller.update(episode.mode_id if self._mode == "joint" else selection.lr_index, reward)
        noise_controller = self._noise_controller_of(selection.lr_index)
        if noise_controller is not None:
            noise_controller.update(selection.noise_index, reward)
        self._window.append(summary.loss_end)
        return {column: getattr(selection, name) for column, name in {**CHOSEN_COLUMNS, **CONTEXT_COLUMNS}.items()}

    def _noise_controller_of(self, lr_index: int) -> BaseController | None:
        controller = self._noise_controller
        return controller[lr_index] if isinstance(controller, list) else controller


FactorizedEpisodeManager = StructuredEpisodeManager


class HierarchicalEpisodeManager:
    """Gone since release 0.1.0; says what to use instead.

    Raises:
        NotImplementedError: always.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise NotImplementedError(
            "HierarchicalEpisodeManager was removed from the AEES v1.0.0 structured path. Use "
            "StructuredEpisodeManager with structured_control_mode='independent' or 'conditional'."
        )


def _check_length(episode_length: int) -> None:
    if episode_length <= 0:
        raise ValueError("episode_length must be a positive integer.")
    check_integer("episode_length", episode_length, "[1, inf)")


def _ask(controller: BaseController | None, name: str, arms: int, bucket: str | None) -> int:
    """Return the arm that a controller plays next; 0 where there is nothing to choose."""
    if controller is None:
        return 0
    set_context = getattr(controller, "set_context", None)
    if bucket is not None and callable(set_context):
        set_context(bucket)
    return _checked_arm(controller.select_mode(), arms, name, "arm")


def _checked_arm(arm: object, arms: int, controller: str, what: str) -> int:
    if isinstance(arm, bool) or not isinstance(arm, int):
        raise TypeError(f"{controller}.select_mode() must return an integer {what} id.")
    if not 0 <= arm < arms:
        raise ValueError(f"{controller}.select_mode() returned {what} id {arm}, but valid ids are in [0, {arms}).")
    return arm
