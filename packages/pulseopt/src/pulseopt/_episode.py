"""The life of an episode: chosen, run for a number of steps, scored, learned from, logged."""

import itertools
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pulseopt._checks import check_integer
from pulseopt._maths.ema import ema_ends
from pulseopt._maths.sums import plain_mean, plain_sum
from pulseopt._records.checkpoint import Stateful, check_same
from pulseopt._records.log import REWARD_PARTS, SUMMARY_COLUMNS, EpisodeLog
from pulseopt.reward import BaseReward
from pulseopt.tracking import EMATracker
from pulseopt.types import CandidateConfig, EpisodeSummary

REWARD_BASELINES = ("episode", "ema")


@dataclass
class OpenEpisode:
    """An episode that is running: what was chosen, and what its steps brought so far."""

    index: int
    mode_id: int
    candidate: CandidateConfig
    start_step: int
    last_step: int
    losses: list[float] = field(default_factory=list[float])
    update_norms: list[float] = field(default_factory=list[float])


class EpisodeKeeper:
    """The part that every episode manager shares; subclasses choose candidates and let controllers learn.

    Args:
        reward_fn: scores a closed episode.
        episode_length: steps of an episode, at least 1.
        ema_alpha: α of equation (4), in (0, 1].
        eps: kept from release 0.1.0, where it has no effect either; above 0.
        reward_baseline: ``"episode"``: each episode's average begins at its own first loss. ``"ema"``: at the
            average that the episode before ended with.
        columns: the log's columns for what was chosen, before and after those of the summary.
        log_limit: episodes that the log keeps; None keeps all.

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
        self._reward_fn = reward_fn
        self._episode_length = episode_length
        self._ema_alpha = ema_alpha
        self._reward_baseline = reward_baseline
        self._average = EMATracker(ema_alpha, eps=eps)  # where the episodes so far ended
        self._episode: OpenEpisode | None = None
        self._step: int | None = None  # of the last on_step_start, until its on_step_end
        self._next_index = 0
        self.listener: Callable[[Mapping[str, object]], None] | None = None  # told of every closed episode
        self._log = EpisodeLog([*columns[0], *SUMMARY_COLUMNS, *columns[1]], log_limit)

    @abstractmethod
    def _choose(self, global_step: int) -> tuple[int, CandidateConfig]:
        """Return the arm and the candidate of a new episode."""

    @abstractmethod
    def _learn(self, episode: OpenEpisode, summary: EpisodeSummary, reward: float) -> dict[str, object]:
        """Hand the reward to the controllers and return what was chosen, for the log."""

    def on_step_start(self, global_step: int) -> CandidateConfig:
        """Return the candidate of this step; an episode's first step chooses it.

        Raises:
            TypeError: ``global_step`` is no integer.
            ValueError: ``global_step`` is negative, or a controller chose an arm that is none.
        """
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
        """Record a step; an episode's last step closes and scores it.

        Raises:
            RuntimeError: no episode is open.
            ValueError: ``loss`` or ``update_norm`` is not finite (nothing has been recorded), or the reward is not
                (the episode has been dropped).
        """
        episode = self._episode
        if episode is None:
            raise RuntimeError("on_step_end() requires an active episode from on_step_start().")
        if not math.isfinite(loss):
            raise ValueError("loss must be finite.")
        if update_norm is not None and not math.isfinite(update_norm):
            raise ValueError("update_norm must be finite when provided.")
        episode.last_step = episode.last_step + 1 if self._step is None else self._step
        self._step = None
        episode.losses.append(loss)
        if update_norm is not None:
            episode.update_norms.append(update_norm)
        if len(episode.losses) >= self._episode_length:
            self._close(episode)

    def finalize(self) -> None:
        """Close the open episode, scored if it has made a step."""
        episode, self._episode, self._step = self._episode, None, None
        if episode is not None and episode.losses:
            self._close(episode)

    def get_logs(self) -> dict[str, list[object]]:
        """Return the closed episodes as columns of equal length, oldest first; the lists are copies."""
        return self._log.columns()

    def save_logs(self, path: str | Path) -> None:
        """Write the closed episodes as JSON lines, one object an episode."""
        self._log.save(path)

    @property
    def open_candidate(self) -> CandidateConfig | None:
        """The open episode's candidate, or None between episodes."""
        return None if self._episode is None else self._episode.candidate

    def state_dict(self) -> dict[str, Any]:
        """Return everything the next step depends on, and the log, as plain values."""
        return {
            "settings": self._settings(),
            "episode": self._episode and asdict(self._episode),
            "step": self._step,
            "next_index": self._next_index,
            "average": self._average.value,
            "log": self.get_logs(),
            "reward": self._reward_fn.state_dict() if isinstance(self._reward_fn, Stateful) else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the saved manager stood.

        Raises:
            ValueError: it was built with other settings; nothing has been changed.
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
            fields.update(losses=list(episode["losses"]), update_norms=list(episode["update_norms"]))
            episode = OpenEpisode(**fields)
        self._log.load(state_dict["log"])
        if isinstance(self._reward_fn, Stateful):
            self._reward_fn.load_state_dict(state_dict["reward"])
        self._episode, self._step = episode, state_dict["step"]
        self._next_index = state_dict["next_index"]
        self._average = EMATracker(self._ema_alpha, state_dict["average"], self._average.eps)

    def _settings(self) -> dict[str, Any]:
        """Return what a checkpoint must agree on."""
        return {
            "episode_length": self._episode_length,
            "ema_alpha": self._ema_alpha,
            "reward_baseline": self._reward_baseline,
        }

    def _close(self, episode: OpenEpisode) -> None:
        self._episode = None  # an episode whose reward fails is dropped; it must not stay open for ever
        summary = self._summary(episode)
        reward = self._reward_fn.compute(summary)
        if not math.isfinite(reward):
            raise ValueError(f"reward_fn.compute() must return a finite number, got {reward}; the episode is dropped")
        parts: dict[str, Any] = dict.fromkeys(REWARD_PARTS)
        if hasattr(self._reward_fn, "get_last_details"):
            parts.update({k: v for k, v in (self._reward_fn.get_last_details() or {}).items() if k in parts})
        summary = replace(summary, reward=reward, **parts)
        chosen = self._learn(episode, summary, reward)
        row = {**chosen, **{column: getattr(summary, name) for column, name in SUMMARY_COLUMNS.items()}}
        self._log.append(row)
        self._average = EMATracker(self._ema_alpha, summary.ema_loss_end, self._average.eps)
        if self.listener is not None:
            self.listener(row)

    def _summary(self, episode: OpenEpisode) -> EpisodeSummary:
        losses, norms = episode.losses, episode.update_norms
        carried = self._average.value if self._reward_baseline == "ema" else None
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
            mean_update_norm=plain_sum(norms) / len(norms) if norms else None,
        )
