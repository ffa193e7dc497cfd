"""Episode managers: run one candidate for a number of steps, score it, choose the next."""

import itertools
import math
from abc import abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from pulseopt._bandits.axes import BUCKETS, AxisControllers, checked_arm, checked_axis
from pulseopt._bandits.rate_search import RateSearch
from pulseopt._checks import check, check_integer
from pulseopt._distributed import read_numbers
from pulseopt._maths.context import phase, trend
from pulseopt._maths.ema import ema_ends
from pulseopt._maths.rate_search import mean_alignment
from pulseopt._maths.sums import plain_mean
from pulseopt._records.checkpoint import Stateful, check_same, stateful
from pulseopt._records.log import CHOSEN_COLUMNS, CONTEXT_COLUMNS, SEARCH_COLUMNS, SUMMARY_COLUMNS, EpisodeLog
from pulseopt.controller import BaseController
from pulseopt.modes import build_generated_candidate_name
from pulseopt.reward import BaseReward, scored
from pulseopt.tracking import EMATracker
from pulseopt.types import CandidateConfig, EpisodeSummary, StructuredSelection

__all__ = ["EpisodeManager", "StructuredEpisodeManager"]

REWARD_BASELINES = ("episode", "ema")
EPSILON_MODES = ("absolute", "relative")


@dataclass
class OpenEpisode:
    """A running episode: its candidate, and the losses and update norms of its steps so far."""

    index: int
    mode_id: int
    candidate: CandidateConfig
    start_step: int
    last_step: int
    losses: list[float] = field(default_factory=list[float])
    update_norms: list[float] = field(default_factory=list[float])
    alignments: list[float | Tensor] = field(default_factory=list[float | Tensor])


class BaseEpisodeManager:
    """The episode's course, common to all managers; subclasses choose candidates and update controllers.

    Args:
        reward_fn: scores a closed episode.
        episode_length: steps per episode, at least 1.
        ema_alpha: α of equation (4), in (0, 1].
        eps: kept from release 0.1.0; has no effect; above 0.
        reward_baseline: where the moving average of an episode starts: ``"episode"``: at its first loss; ``"ema"``: at
            the last average of the previous episode.
        columns: the log's columns for the choice, before and after those of the summary.
        log_limit: number of episodes kept in the log; None keeps all.

    Raises:
        ValueError: an argument lies outside its range.
    """

    def __init__(
        self,
        reward_fn: BaseReward,
        episode_length: int,
        ema_alpha: float,
        eps: float,
        reward_baseline: str,
        columns: tuple[Sequence[str], Sequence[str]],
        log_limit: int | None,
    ) -> None:
        if reward_baseline not in REWARD_BASELINES:
            raise ValueError(f"reward_baseline must be one of {list(REWARD_BASELINES)}, got {reward_baseline!r}")
        if log_limit is not None:
            check_integer("log_limit", log_limit, "[1, inf)")
        EMATracker(ema_alpha, eps=eps)  # checks its arguments
        self._reward_fn = reward_fn
        self._episode_length = episode_length
        self._ema_alpha = ema_alpha
        self._reward_baseline = reward_baseline
        self._average: float | None = None  # that the last episode ended with
        self._episode: OpenEpisode | None = None
        self._step: int | None = None  # of the last on_step_start, until its on_step_end
        self._next_index = 0
        self._log = EpisodeLog([*columns[0], *SUMMARY_COLUMNS, *columns[1]], log_limit)

    @abstractmethod
    def _choose(self, global_step: int) -> tuple[int, CandidateConfig]:
        """Returns the arm and the candidate of a new episode."""

    @abstractmethod
    def _learn(self, summary: EpisodeSummary, reward: float) -> dict[str, object]:
        """Hands the reward to the controllers and returns what was chosen, for the log."""

    def on_step_start(self, global_step: int) -> CandidateConfig:
        """Returns the candidate of this step; the first step of an episode chooses it.

        Args:
            global_step: number of the step, at least 0.

        Returns:
            The candidate to run the step with.

        Raises:
            TypeError: ``global_step`` is not an integer.
            ValueError: ``global_step`` is negative, or a controller chose an arm that does not exist.
        """
        if type(global_step) is not int:  # the check of every step that is none costs more than the step's own work
            check_integer("global_step", global_step, "(-inf, inf)")
        if global_step < 0:
            raise ValueError("global_step must be non-negative.")
        if self._episode is None:
            mode_id, candidate = self._choose(global_step)
            self._episode = OpenEpisode(self._next_index, mode_id, candidate, global_step, global_step)
            self._next_index += 1
        self._step = global_step
        return self._episode.candidate

    def on_step_end(self, loss: float, update_norm: float | None = None) -> None:
        """Records a step; the last step of an episode closes and scores it.

        Args:
            loss: loss of the step, finite.
            update_norm: norm of the update, where it was measured.

        Raises:
            RuntimeError: no episode is open.
            ValueError: ``loss`` or ``update_norm`` is not finite (nothing has been recorded), or the reward is not
                (the episode has been dropped).
        """
        if self._episode is None:
            raise RuntimeError("on_step_end() requires an active episode from on_step_start().")
        if not math.isfinite(loss):
            raise ValueError("loss must be finite.")
        if update_norm is not None and not math.isfinite(update_norm):
            raise ValueError("update_norm must be finite when provided.")
        self.record(loss, update_norm)

    def record(
        self,
        loss: float,
        update_norm: float | None,
        alignment: Tensor | float | None = None,
        step: int | None = None,
    ) -> Mapping[str, object] | None:
        """Records a step with a finite loss and returns the log's row, if it closed the episode.

        Args:
            loss: the step's.
            update_norm: how far the step moved the parameters, if it was measured.
            alignment: of its gradient with the update before it, if it was measured; read when the episode closes.
            step: its number; None: that of the last `on_step_start`.
        """
        episode = self._episode
        assert episode is not None
        step = self._step if step is None else step
        episode.last_step = episode.last_step + 1 if step is None else step
        self._step = None
        if alignment is not None:
            episode.alignments.append(alignment)
        episode.losses.append(loss)
        if update_norm is not None:
            episode.update_norms.append(update_norm)
        return self.finalize() if len(episode.losses) >= self._episode_length else None

    def finalize(self) -> Mapping[str, object] | None:
        """Closes the open episode, scored if it has made a step, and returns the log's row for it."""
        episode, self._episode, self._step = self._episode, None, None
        if episode is None or not episode.losses:
            return None
        summary = scored(self._reward_fn, self._summary(episode))  # a reward that fails leaves no episode open
        chosen = self._learn(summary, summary.reward or 0.0)
        row = {**chosen, **{column: getattr(summary, name) for column, name in SUMMARY_COLUMNS.items()}}
        self._log.append(row)
        self._average = summary.ema_loss_end
        return row

    def get_logs(self) -> dict[str, list[object]]:
        """Returns the closed episodes as columns of equal length, oldest first; the lists are copies."""
        return self._log.columns()

    def save_logs(self, path: str | Path) -> None:
        """Writes the closed episodes as JSON lines, one object per episode.

        Args:
            path: the file to write.
        """
        self._log.save(path)

    @property
    def current_step(self) -> int | None:
        """The number of the step that has begun and has not been recorded yet."""
        return self._step

    @property
    def episode_length(self) -> int:
        """The steps of an episode."""
        return self._episode_length

    @property
    def steps_left(self) -> int:
        """Number of steps that the open episode, or else the next one, still records."""
        return self._episode_length - (0 if self._episode is None else len(self._episode.losses))

    @property
    def open_candidate(self) -> CandidateConfig | None:
        """The open episode's candidate, or None between episodes."""
        return None if self._episode is None else self._episode.candidate

    def state_dict(self) -> dict[str, Any]:
        """Returns everything the next step depends on, and the log, as plain values.

        Raises:
            TypeError: a controller cannot be saved.
        """
        return {
            "settings": self._settings(),
            "episode": self._episode and self._saved(self._episode),
            "step": self._step,
            "next_index": self._next_index,
            "average": self._average,
            "log": self.get_logs(),
            "reward": self._reward_fn.state_dict() if isinstance(self._reward_fn, Stateful) else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resumes from a checkpoint.

        Args:
            state_dict: the result of `state_dict`.

        Raises:
            ValueError: it was saved under other settings; nothing has been changed.
        """
        before = self.state_dict()
        try:
            self._load(state_dict)
        except BaseException:
            self._load(before)
            raise

    def _load(self, state_dict: dict[str, Any]) -> None:
        check_same(self, self._settings(), state_dict["settings"])
        episode = state_dict["episode"]
        if episode is not None:
            fields: dict[str, Any] = {**episode, "candidate": CandidateConfig(**episode["candidate"])}
            fields.update({name: list(episode.get(name, ())) for name in ("losses", "update_norms", "alignments")})
            episode = OpenEpisode(**fields)
        self._log.load(state_dict["log"])
        if isinstance(self._reward_fn, Stateful):
            self._reward_fn.load_state_dict(state_dict["reward"])
        self._episode, self._step = episode, state_dict["step"]
        self._next_index, self._average = state_dict["next_index"], state_dict["average"]

    @staticmethod
    def _saved(episode: OpenEpisode) -> dict[str, Any]:
        return asdict(replace(episode, alignments=list(read_numbers(episode.alignments))))

    def _settings(self) -> dict[str, Any]:
        """Returns what a checkpoint must agree on."""
        return {
            "episode_length": self._episode_length,
            "ema_alpha": self._ema_alpha,
            "reward_baseline": self._reward_baseline,
        }

    def _summary(self, episode: OpenEpisode) -> EpisodeSummary:
        losses, norms = episode.losses, episode.update_norms
        carried = self._average if self._reward_baseline == "ema" else None
        ema_start, ema_end = ema_ends(losses, self._ema_alpha, carried)
        changes = [abs(new - old) for old, new in itertools.pairwise(losses)]
        return EpisodeSummary(
            episode_index=episode.index,
            mode_id=episode.mode_id,
            mode_name=episode.candidate.name,
            start_step=episode.start_step,
            end_step=episode.last_step,
            steps=len(losses),
            loss_start=losses[0],
            loss_end=losses[-1],
            ema_abs_loss_delta=plain_mean(changes) if changes else 0.0,
            ema_loss_start=ema_start,
            ema_loss_end=ema_end,
            step_losses=tuple(losses),
            mean_update_norm=plain_mean(norms) if norms else None,
            mean_alignment=mean_alignment(read_numbers(episode.alignments)),
        )


class EpisodeManager(BaseEpisodeManager):
    """One controller over a list of candidates.

    Args:
        modes: the candidates, at least one; arm i is ``modes[i]``.
        controller: chooses the arm of each episode.
        reward_fn: scores a closed episode.
        episode_length: steps per episode, at least 1.
        ema_alpha: weight of the newest loss in the moving average, in (0, 1].
        eps: kept from release 0.1.0; has no effect; above 0.
        reward_baseline: where the moving average of an episode starts: ``"episode"``: at its first loss; ``"ema"``: at
            the last average of the previous episode.
        log_limit: number of episodes kept in the log; None keeps all.

    Raises:
        ValueError: an argument lies outside its range.

    >>> from pulseopt import CandidateConfig, EpisodeManager, RandomController, RelativeImprovementReward
    >>> modes = [CandidateConfig("slow", lr_multiplier=0.5), CandidateConfig("fast", lr_multiplier=2.0)]
    >>> controller = RandomController(len(modes), random_seed=0)
    >>> manager = EpisodeManager(modes, controller, RelativeImprovementReward(), episode_length=2)
    >>> for step, loss in enumerate((4.0, 3.0, 3.0, 1.0)):
    ...     candidate = manager.on_step_start(step)
    ...     manager.on_step_end(loss)
    >>> manager.get_logs()["selected_mode_names"]
    ['fast', 'fast']
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
        """Returns everything the next step depends on, and the log, as plain values.

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
        arm = checked_arm(self._controller.select_mode(), len(self._modes), "controller", "mode")
        return arm, self._modes[arm]

    def _learn(self, summary: EpisodeSummary, reward: float) -> dict[str, object]:
        self._controller.update(summary.mode_id, reward)
        return {"selected_mode_ids": summary.mode_id, "selected_mode_names": summary.mode_name}


class StructuredEpisodeManager(BaseEpisodeManager):
    """Controllers over two axes: factors on the learning rate, deviations of gradient noise.

    Args:
        lr_candidates: the factors, each above 0, finite and distinct.
        noise_candidates: the deviations, each at least 0, finite and distinct.
        lr_controller: chooses the factor; None where there is one. In joint mode it chooses the pair, numbered
            ``lr_index * len(noise_candidates) + noise_index``.
        noise_controller: chooses the deviation; None where there is one, and in joint mode. In conditional mode with
            several factors a list, one controller for each factor.
        reward_fn: scores a closed episode.
        episode_length: steps per episode, at least 1.
        structured_control_mode: ``"independent"``, ``"conditional"`` or ``"joint"``.
        context_mode: ``"none"``, ``"trend"`` or ``"trend_phase"``: the context that controllers receive before they
            choose.
        total_training_steps: steps of the run, for the phase.
        context_trend_window: number of episodes that define the trend, at least 1.
        context_trend_epsilon: the largest change of loss between episodes that counts as stable, at least 0.
        ema_alpha: weight of the newest loss in the moving average, in (0, 1].
        eps: kept from release 0.1.0; has no effect; above 0.
        context_trend_epsilon_mode: ``"absolute"``: epsilon is in units of the loss; ``"relative"``: in units of the
            mean absolute loss of the window.
        reward_baseline: where the moving average of an episode starts: ``"episode"``: at its first loss; ``"ema"``: at
            the last average of the previous episode.
        log_limit: number of episodes kept in the log; None keeps all.
        travel: number of episodes after which all factors are multiplied by the best of them, equation (27); None:
            factors are constant.

    Raises:
        TypeError: the controllers do not fit the axes.
        ValueError: an argument lies outside its range.

    >>> from pulseopt import RandomController, RelativeImprovementReward, StructuredEpisodeManager
    >>> controller = RandomController(2, random_seed=0)
    >>> manager = StructuredEpisodeManager([0.5, 2.0], [0.0], controller, None, RelativeImprovementReward(), 2)
    >>> for step, loss in enumerate((4.0, 3.0, 3.0, 1.0)):
    ...     candidate = manager.on_step_start(step)
    ...     manager.on_step_end(loss)
    >>> manager.get_logs()["selected_lr_values"]
    [2.0, 2.0]
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
        travel: int | None = None,
    ) -> None:
        lrs = checked_axis("lr_candidates", lr_candidates, zero=False)
        noises = checked_axis("noise_candidates", noise_candidates, zero=True)
        _check_length(episode_length)
        _check_context(context_mode, total_training_steps, context_trend_window, context_trend_epsilon)
        if context_trend_epsilon_mode not in EPSILON_MODES:
            modes = list(EPSILON_MODES)
            raise ValueError(f"context_trend_epsilon_mode must be one of {modes}, got {context_trend_epsilon_mode!r}")
        self._axes = AxisControllers(lrs, noises, structured_control_mode, lr_controller, noise_controller, travel)
        columns = list(CHOSEN_COLUMNS), [] if context_mode == "none" else list(CONTEXT_COLUMNS)
        super().__init__(reward_fn, episode_length, ema_alpha, eps, reward_baseline, columns, log_limit)
        self._context_mode = context_mode
        self._total_steps = total_training_steps
        self._epsilon = context_trend_epsilon
        self._epsilon_mode = context_trend_epsilon_mode
        self._window: deque[float] = deque(maxlen=context_trend_window)
        self._selection: StructuredSelection | None = None

    @property
    def controllers(self) -> dict[str, BaseController]:
        """The controllers by name (``"lr"`` and ``"noise"``, ``"noise given lr 0"`` and so on, or ``"joint"``)."""
        return self._axes.named

    @property
    def learns(self) -> bool:
        """Returns whether losses change what comes next."""
        return bool(self.controllers)

    @property
    def rate_multiplier(self) -> float:
        """The product of the factors by which ``travel`` has moved the candidates; 1 without it."""
        return self._axes.base

    def arm_names(self, controller: str) -> list[str]:
        """Returns the names of a controller's arms: ``"lr0.5"``, ``"n0.01"``, or both for a pair.

        Args:
            controller: a key of `controllers`.
        """
        return self._axes.arm_names(controller)

    def estimates(self) -> str:
        """Returns each controller's estimate of each of its arms: ``lr: lr0.5=+0.12 lr1=-0.03``."""
        return self._axes.estimates()

    def state_dict(self) -> dict[str, Any]:
        """Returns everything the next step depends on, and the log, as plain values.

        Raises:
            TypeError: a controller cannot be saved.
        """
        return {
            **super().state_dict(),
            "selection": self._selection and asdict(self._selection),
            "window": list(self._window),
            "controllers": self._axes.state_dict(),
        }

    def _load(self, state_dict: dict[str, Any]) -> None:
        super()._load(state_dict)
        selection = state_dict["selection"]
        self._selection = None if selection is None else StructuredSelection(**selection)
        self._window = deque(state_dict["window"], maxlen=self._window.maxlen)
        self._axes.load_state_dict(state_dict["controllers"])

    def _settings(self) -> dict[str, Any]:
        travel = {} if self._axes.travel is None else {"travel": self._axes.travel}
        return {
            **super()._settings(),
            **travel,
            "lr_candidates": list(self._axes.lrs),
            "noise_candidates": list(self._axes.noises),
            "structured_control_mode": self._axes.mode,
            "context_mode": self._context_mode,
            "total_training_steps": self._total_steps,
            "context_trend_window": self._window.maxlen,
            "context_trend_epsilon": self._epsilon,
            "context_trend_epsilon_mode": self._epsilon_mode,
        }

    def _choose(self, global_step: int) -> tuple[int, CandidateConfig]:
        context = self._context(global_step)
        lr_index, noise_index = self._axes.select(context["context_bucket"])
        lr, noise = self._axes.factor(lr_index), self._axes.noises[noise_index]
        name = build_generated_candidate_name(lr, noise)
        self._selection = StructuredSelection(lr_index, noise_index, lr, noise, name, **context)
        return lr_index * len(self._axes.noises) + noise_index, CandidateConfig(name, lr, noise)

    def _context(self, global_step: int) -> dict[str, str | None]:
        """Returns the trend, the phase and the bucket, as fields of the selection."""
        found: dict[str, str | None] = dict.fromkeys(("context_trend", "context_phase", "context_bucket"))
        if self._context_mode == "none":
            return found
        bucket = found["context_trend"] = trend(self._window, self._epsilon, self._epsilon_mode == "relative")
        if self._context_mode == "trend_phase":
            found["context_phase"] = phase(global_step, self._total_steps or 1)
            bucket = f"{found['context_phase']}_{bucket}"
        return {**found, "context_bucket": bucket}

    def _learn(self, summary: EpisodeSummary, reward: float) -> dict[str, object]:
        selection, self._selection = self._selection, None
        assert selection is not None
        self._axes.update(selection.lr_index, selection.noise_index, reward)
        self._window.append(summary.loss_end)
        return {column: getattr(selection, name) for column, name in {**CHOSEN_COLUMNS, **CONTEXT_COLUMNS}.items()}


class RateSearchManager(BaseEpisodeManager):
    """A search for the learning rate instead of arms: short episodes while it searches, then one factor held.

    Args:
        search: moves the factor.
        noise: the deviation of gradient noise, the same throughout.
        reward_fn: scores a closed episode, for the log.
        episode_length: steps of an episode once the search is over, at least 1.
        ema_alpha: weight of the newest loss in the moving average, in (0, 1].
        reward_baseline: ``"episode"`` or ``"ema"``, where an episode's moving average begins.
        log_limit: episodes that the log keeps; None keeps all.

    Raises:
        ValueError: an argument lies outside its range.
    """

    SEARCH_LENGTH = 5

    def __init__(
        self,
        search: RateSearch,
        noise: float,
        reward_fn: BaseReward,
        episode_length: int,
        ema_alpha: float,
        reward_baseline: str,
        log_limit: int | None,
    ) -> None:
        _check_length(episode_length)
        columns = list(SEARCH_COLUMNS), ()
        super().__init__(reward_fn, self.SEARCH_LENGTH, ema_alpha, 1e-12, reward_baseline, columns, log_limit)
        self.search = search
        self._noise = noise
        self._held_length = episode_length

    @property
    def controllers(self) -> dict[str, BaseController]:
        """Always empty: a search has no controllers."""
        return {}

    @property
    def learns(self) -> bool:
        """Returns whether losses change what comes next."""
        return self.search.searching

    @property
    def rate_multiplier(self) -> float:
        """The present factor of the search."""
        return self.search.multiplier

    def estimates(self) -> str:
        """Returns the factor and whether it is still searched for."""
        return f"{'searching' if self.search.searching else 'holding'} lr{self.search.multiplier:.4g}"

    def state_dict(self) -> dict[str, Any]:
        """Returns everything the next step depends on, and the log, as plain values."""
        return {**super().state_dict(), "search": self.search.state_dict()}

    def _load(self, state_dict: dict[str, Any]) -> None:
        super()._load(state_dict)
        self.search.load_state_dict(state_dict["search"])
        self._episode_length = self.SEARCH_LENGTH if self.search.searching else self._held_length

    def _settings(self) -> dict[str, Any]:
        own = {"episode_length": self._held_length, "noise": self._noise, "total_steps": self.search.total_steps}
        return {**super()._settings(), **own}

    def _choose(self, global_step: int) -> tuple[int, CandidateConfig]:
        factor = self.search.multiplier
        return 0, CandidateConfig(build_generated_candidate_name(factor, self._noise), factor, self._noise)

    def _learn(self, summary: EpisodeSummary, reward: float) -> dict[str, object]:
        chosen: dict[str, object] = {
            "selected_lr_values": self.search.multiplier,
            "selected_noise_values": self._noise,
            "selected_combined_names": summary.mode_name,
            "search_phases": "search" if self.search.searching else "hold",
            "mean_alignments": summary.mean_alignment,
        }
        self.search.update(summary.mean_alignment, summary.end_step + 1)
        self._episode_length = self.SEARCH_LENGTH if self.search.searching else self._held_length
        return chosen


def _check_length(episode_length: int) -> None:
    if episode_length <= 0:
        raise ValueError("episode_length must be a positive integer.")
    check_integer("episode_length", episode_length, "[1, inf)")


def _check_context(mode: str, total_steps: int | None, window: int, epsilon: float) -> None:
    if mode not in BUCKETS:
        raise ValueError("context_mode must be 'none', 'trend', or 'trend_phase'.")
    if window <= 0:
        raise ValueError("context_trend_window must be positive.")
    if epsilon < 0.0:
        raise ValueError("context_trend_epsilon must be non-negative.")
    check("context_trend_epsilon", epsilon, "[0, inf)")
    if mode == "trend_phase" and (total_steps is None or total_steps <= 0):
        raise ValueError("trend_phase context requires a positive total_training_steps.")
