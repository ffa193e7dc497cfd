"""AEES: adaptive episodic exploration scheduling around any optimizer."""

import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from pulseopt import _distributed
from pulseopt._axes import CONTEXT_MODES, CONTROL_MODES, checked_axis
from pulseopt._bandits.build import build_manager, build_reward
from pulseopt._checks import check_integer
from pulseopt._control import Control
from pulseopt._step.noise import NoiseSource
from pulseopt._step.optimizer_step import Stepper
from pulseopt.controller import TREND_CONTEXT_BUCKETS, TREND_PHASE_CONTEXT_BUCKETS
from pulseopt.reward import BaseReward
from pulseopt.types import CandidateConfig

__all__ = ["AEES", "TREND_CONTEXT_BUCKETS", "TREND_PHASE_CONTEXT_BUCKETS"]


class AEES(Control):
    """Bandit control of a learning-rate factor and a gradient-noise level, one choice an episode.

    Either the wrapper owns the step (`step_start`, backward, `step_end`), or a trainer does and the wrapper hooks into
    the optimizer (`attach`, `observe`).

    Args:
        optimizer: the one to control. Its learning rates are multiplied for the time of its step.
        lr_candidates: factors, each above 0, finite and there once.
        noise_candidates: standard deviations of gradient noise, each at least 0, finite and there once.
        episode_length: steps of an episode, at least 1.
        lr_scheduler: stepped after each step that was taken, on the optimizer's own rates.
        control_mode: ``"adaptive"``, or ``"random"`` as a baseline.
        structured_control_mode: ``"independent"``: a controller for each axis. ``"conditional"``: one for the noise
            under each factor. ``"joint"``: one over all pairs.
        context_mode: ``"none"``, ``"trend"`` or ``"trend_phase"``: whether controllers learn each context apart.
        context_trend_window: how many episodes the trend looks back on, at least 1.
        context_trend_epsilon: the change from one episode to the next that counts as stable, at least 0.
        total_training_steps: steps of the run; ``"trend_phase"`` needs it.
        reward_instability_lambda: λ, weight of the loss's variance in the reward, at least 0.
        reward_epsilon: ε of the reward, above 0.
        reward_clip_min: the lowest reward.
        reward_clip_max: the highest reward.
        ema_alpha: weight of the newest loss in the moving average, in (0, 1].
        seed: of the controllers and the noise; None takes fresh entropy, which the state records.
        track_update_norm: measure how far each step moves the parameters, for the log: one copy of the parameters
            and one more read of the device in each step.
        on_nonfinite: ``"raise"``, or ``"skip"``: a step with a non-finite loss is neither taken nor scored.
        reward: ``"log"``, ``"relative"`` or any `BaseReward`; ``"log"`` scores episodes with losses at or below zero
            like ``"relative"``, and warns once.
        reward_baseline: ``"episode"``, or ``"ema"`` to carry the moving average across episodes.
        context_trend_epsilon_mode: ``"absolute"``, or ``"relative"`` to the loss.
        exploration_coef: c of the upper confidence bound, at least 0; rewards are about 1 at most.
        discount: what an episode later is left of a reward in the controllers' memory, in (0, 1].
        log_limit: episodes that the log keeps; None keeps all.
        writer: anything with ``add_scalar(tag, value, step)``, told of every closed episode; not saved.
        sync_ranks: under `torch.distributed`, average the loss over the ranks and take the first rank's choices.
        process_group: the ranks to agree with; None is all of them.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: an argument lies outside its range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        lr_candidates: list[float] | tuple[float, ...] = (1.0,),
        noise_candidates: list[float] | tuple[float, ...] = (0.0,),
        episode_length: int = 100,
        lr_scheduler: Any | None = None,
        control_mode: str = "adaptive",
        structured_control_mode: str = "independent",
        context_mode: str = "none",
        context_trend_window: int = 3,
        context_trend_epsilon: float = 0.001,
        total_training_steps: int | None = None,
        reward_instability_lambda: float = 0.1,
        reward_epsilon: float = 1e-8,
        reward_clip_min: float = -1.0,
        reward_clip_max: float = 1.0,
        ema_alpha: float = 0.1,
        seed: int | None = None,
        track_update_norm: bool = False,
        on_nonfinite: str = "raise",
        reward: str | BaseReward = "log",
        reward_baseline: str = "episode",
        context_trend_epsilon_mode: str = "absolute",
        exploration_coef: float = 1.0,
        discount: float = 0.95,
        log_limit: int | None = 10_000,
        writer: Any | None = None,
        sync_ranks: bool = True,
        process_group: Any | None = None,
    ) -> None:
        _check_choice("control_mode", control_mode, ("adaptive", "random"))
        _check_choice("context_mode", context_mode, CONTEXT_MODES)
        _check_choice("structured_control_mode", structured_control_mode, CONTROL_MODES)
        _check_choice("on_nonfinite", on_nonfinite, ("raise", "skip"))
        lrs = checked_axis("lr_candidates", lr_candidates, zero=False)
        noises = checked_axis("noise_candidates", noise_candidates, zero=True)
        if seed is not None:
            check_integer("seed", seed, "(-inf, inf)")
        if total_training_steps is not None and context_mode != "trend_phase":
            warnings.warn("total_training_steps has no effect unless context_mode='trend_phase'", stacklevel=2)
            total_training_steps = None
        seed = _distributed.fresh_seed() if seed is None else seed
        manager = build_manager(
            lrs,
            noises,
            control_mode,
            structured_control_mode,
            context_mode,
            seed,
            (exploration_coef, discount),
            build_reward(reward, reward_epsilon, reward_instability_lambda, reward_clip_min, reward_clip_max),
            episode_length=episode_length,
            total_training_steps=total_training_steps,
            context_trend_window=context_trend_window,
            context_trend_epsilon=context_trend_epsilon,
            ema_alpha=ema_alpha,
            context_trend_epsilon_mode=context_trend_epsilon_mode,
            reward_baseline=reward_baseline,
            log_limit=log_limit,
        )
        noise = NoiseSource(seed)
        stepper = Stepper(optimizer, noise, track_update_norm)
        skip, ranks = on_nonfinite == "skip", (sync_ranks, process_group)
        super().__init__(optimizer, manager, noise, stepper, control_mode, skip, writer, ranks)
        self._lr_scheduler = lr_scheduler
        self._takes_metrics = lr_scheduler is not None and "metrics" in inspect.signature(lr_scheduler.step).parameters

    def step_start(self, global_step: int) -> CandidateConfig:
        """Open a step and return its candidate.

        Raises:
            RuntimeError: a step is open, or a trainer owns the steps.
            TypeError: ``global_step`` is no integer.
            ValueError: ``global_step`` is negative.
        """
        self._refuse_attached("step_start")
        if self._open and not self._refused:
            raise RuntimeError("step_start() called twice without an intervening step_end().")
        self._candidate = self._choose(global_step)
        self._open, self._refused = True, False
        return self._candidate

    def step_end(
        self,
        loss: float | Tensor,
        scaler: Any | None = None,
        metrics: float | Tensor | None = None,
        closure: Callable[[], Any] | None = None,
    ) -> None:
        """Step the optimizer with the candidate, then the scheduler, and score the loss.

        Where it raises before or within the optimizer's step, nothing has changed and the step is still open: call it
        again, or `step_skip`, or go on with the next `step_start`.

        Args:
            loss: this step's, one number, not multiplied by the scaler.
            scaler: the GradScaler that the backward went through. Gradients are unscaled before noise is added; a step
                that the scaler skips is neither scored nor seen by the scheduler. ``scaler.update()`` stays yours.
            metrics: what a scheduler like ReduceLROnPlateau is stepped with; without it, it is not stepped.
            closure: handed to the optimizer's step; noise is added after each of its calls.

        Raises:
            RuntimeError: no step is open, or a trainer owns the steps, or gradients are still scaled.
            TypeError: ``loss`` is no number.
            ValueError: ``loss`` holds several or is not finite, or arguments do not go together.
        """
        self._refuse_attached("step_end")
        candidate = self._candidate
        if not self._open or candidate is None:
            raise RuntimeError("step_end() called without a preceding step_start().")
        self._refused = True
        value = self._read(loss)
        if not math.isfinite(value):
            if self._skip_nonfinite:
                self._close_step()
                return
            raise ValueError("loss passed to step_end() must be finite.")
        if metrics is not None and not self._takes_metrics:
            raise ValueError("metrics must be None unless lr_scheduler is stepped with them, as ReduceLROnPlateau is")
        stepped = self._stepper.step(candidate, scaler, closure)
        self._close_step()
        if not stepped:
            return
        try:
            self._manager.on_step_end(value, update_norm=self._stepper.update_norm())
        finally:  # a reward that fails must not hold the schedule up
            self._step_scheduler(metrics)

    def step_skip(self) -> None:
        """Close the open step: no optimizer step, no scheduler step, no score.

        Raises:
            RuntimeError: no step is open, or a trainer owns the steps.
        """
        self._refuse_attached("step_skip")
        if not self._open:
            raise RuntimeError("step_skip() called without a preceding step_start().")
        self._close_step()

    def finalize(self) -> None:
        """Close and score the last, partial episode.

        Raises:
            RuntimeError: a step is open.
        """
        if self._open and not self._refused:
            raise RuntimeError("finalize() called with an open step — call step_end() first.")
        self._close_step()
        self._manager.finalize()

    def _step_scheduler(self, metrics: float | Tensor | None) -> None:
        if self._lr_scheduler is None:
            return
        if not self._takes_metrics:
            self._lr_scheduler.step()
        elif metrics is not None:
            self._lr_scheduler.step(metrics)

    def _close_step(self) -> None:
        self._open, self._refused, self._candidate = False, False, None

    def _refuse_attached(self, method: str) -> None:
        if self._attachment is not None:
            raise RuntimeError(
                f"{method}() must not be called while attached: the optimizer's own step() is the step now; "
                "pass losses to observe(), or call detach() first"
            )


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {sorted(choices)}, got {value!r}.")
