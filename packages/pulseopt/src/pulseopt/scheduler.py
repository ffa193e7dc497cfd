"""AEES: adaptive episodic exploration scheduling around any optimizer."""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

from torch import Tensor
from torch.optim import Optimizer

from pulseopt._bandits.axes import BUCKETS, CONTROL_MODES, build_controllers, checked_axis
from pulseopt._bandits.rate_search import RateSearch
from pulseopt._checks import check, check_integer
from pulseopt._distributed import check_loss, fresh_seed, from_first_rank, is_distributed, read_losses, read_numbers
from pulseopt._maths.rate_search import anneal
from pulseopt._records.checkpoint import check_same
from pulseopt._records.log import write_scalars
from pulseopt._records.notebook import as_html
from pulseopt._step.hooks import ObservedLosses, closure_in, innermost, with_closure
from pulseopt._step.noise import NoiseSource
from pulseopt._step.optimizer_step import OptimizerStep
from pulseopt._step.schedule import ScheduleStep
from pulseopt._step.update_norm import UpdateNorm
from pulseopt.controller import TREND_CONTEXT_BUCKETS, TREND_PHASE_CONTEXT_BUCKETS
from pulseopt.episode import RateSearchManager, StructuredEpisodeManager
from pulseopt.reward import AlignmentReward, BaseReward, build_reward
from pulseopt.types import CandidateConfig

__all__ = ["AEES", "TREND_CONTEXT_BUCKETS", "TREND_PHASE_CONTEXT_BUCKETS"]


class AEES:
    """Bandit control of a learning-rate factor and a gradient-noise level, with one choice per episode.

    In a loop of your own, call `step_start`, the backward pass and `step_end`. Where a trainer steps the optimizer,
    `attach` to the optimizer and pass losses to `observe`.

    Args:
        optimizer: the optimizer to control. Its learning rates are multiplied while its step runs.
        lr_candidates: factors, each above 0, finite and distinct.
        noise_candidates: standard deviations of gradient noise, each at least 0, finite and distinct.
        episode_length: steps per episode, at least 1.
        lr_scheduler: a scheduler, stepped on the optimizer's own rates after each step taken.
        control_mode: ``"adaptive"``; ``"random"``, a baseline; or ``"find"``: no arms, but a search for the learning
            rate by the alignment of each gradient with the previous update; see `find_rate`.
        structured_control_mode: ``"independent"``: a controller for each axis. ``"conditional"``: one for the noise
            under each factor. ``"joint"``: one over all pairs.
        context_mode: ``"none"``, ``"trend"`` or ``"trend_phase"``: whether controllers learn each context separately.
        context_trend_window: number of episodes that define the trend, at least 1.
        context_trend_epsilon: the largest change between episodes that counts as stable, at least 0.
        total_training_steps: steps of the run; ``"trend_phase"``, ``"find"`` and ``anneal_share`` need it.
        reward_instability_lambda: λ, weight of the variance of the loss in the reward, at least 0.
        reward_epsilon: ε of the reward, above 0.
        reward_clip_min: the lowest reward.
        reward_clip_max: the highest reward.
        ema_alpha: weight of the newest loss in the moving average, in (0, 1].
        seed: seed of the controllers and the noise; None draws fresh entropy, which the state records.
        track_update_norm: measure the norm of each update, for the log; costs one copy of the parameters and one more
            read of the device per step.
        on_nonfinite: ``"raise"``, or ``"skip"``: a step with a non-finite loss is neither taken nor scored.
        reward: ``"log"``, ``"relative"``, ``"standardised"``, ``"alignment"`` or any `BaseReward`; ``"log"`` scores
            episodes with losses at or below zero like ``"relative"``, and warns once.
        reward_baseline: ``"episode"``, or ``"ema"`` to carry the moving average across episodes.
        context_trend_epsilon_mode: ``"absolute"``, or ``"relative"`` to the loss.
        exploration_coef: c of the upper confidence bound, at least 0; rewards are about 1 at most.
        discount: γ, the weight of a reward after one more episode, in (0, 1].
        log_limit: number of episodes kept in the log; None keeps all.
        writer: anything with ``add_scalar(tag, value, step)``; receives every closed episode, is not saved.
        sync_ranks: under `torch.distributed`, average the loss over the ranks and take the choices of the first rank.
        process_group: the ranks to agree with; None for all.
        noise_on_zeros: whether entries whose gradient is 0 get noise too, such as padding rows of an embedding.
        noise_streams: ``"parameter"``: a random stream for each, as in release 0.1.0. ``"shared"``: one stream per
            device, drawn in a few launches for any number of tensors.
        read_losses: ``"step"``, or ``"episode"``: losses stay on the device until the episode ends, and no step before
            that waits for it; a non-finite loss is then detected at the end, after its step was taken.
        anneal_share: share of the run, at its end, over which the rate falls linearly to zero, in [0, 1].
        travel: number of episodes after which all factors are multiplied by the best of them; None: factors are
            constant.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument lies outside its range.

    Source: Garivier & Moulines 2008 (the bandit), https://arxiv.org/abs/0805.3415

    >>> import torch
    >>> from pulseopt import AEES
    >>> weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    >>> optimizer = torch.optim.SGD([weight], lr=0.1)
    >>> aees = AEES(optimizer, lr_candidates=[0.5, 1.0, 2.0], episode_length=5, seed=0)
    >>> for step in range(20):
    ...     candidate = aees.step_start(step)
    ...     optimizer.zero_grad()
    ...     loss = weight.pow(2).sum()
    ...     loss.backward()
    ...     aees.step_end(loss)
    >>> len(aees.get_logs()["episode_rewards"])
    4
    >>> optimizer.param_groups[0]["lr"]
    0.1
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
        noise_on_zeros: bool = True,
        noise_streams: str = "parameter",
        read_losses: str = "step",
        anneal_share: float = 0.0,
        travel: int | None = None,
    ) -> None:
        if not hasattr(optimizer, "param_groups"):
            raise TypeError(
                f"optimizer must be a torch.optim.Optimizer or one that wraps it, got a {type(optimizer).__name__}"
            )
        if control_mode != "find":
            _check_choice("control_mode", control_mode, ("adaptive", "random"), " Or 'find', a search for the rate.")
        _check_choice("noise_streams", noise_streams, ("parameter", "shared"))
        _check_choice("read_losses", read_losses, ("step", "episode"))
        check("anneal_share", anneal_share, "[0, 1]")
        _check_choice("context_mode", context_mode, tuple(BUCKETS))
        _check_choice("structured_control_mode", structured_control_mode, CONTROL_MODES)
        _check_choice("on_nonfinite", on_nonfinite, ("raise", "skip"))
        lrs = checked_axis("lr_candidates", lr_candidates, zero=False)
        noises = checked_axis("noise_candidates", noise_candidates, zero=True)
        if seed is not None:
            check_integer("seed", seed, "(-inf, inf)")
        finds = control_mode == "find"
        if finds or anneal_share > 0.0:
            if total_training_steps is None:
                raise ValueError("total_training_steps must be given for control_mode='find' and for anneal_share")
            check_integer("total_training_steps", total_training_steps, "[1, inf)")
        elif total_training_steps is not None and context_mode != "trend_phase":
            warnings.warn(
                "total_training_steps has no effect unless context_mode='trend_phase', control_mode='find' or "
                "anneal_share is above 0",
                stacklevel=2,
            )
        seed = fresh_seed() if seed is None else seed
        reward_fn = build_reward(reward, reward_epsilon, reward_instability_lambda, reward_clip_min, reward_clip_max)
        self._optimizer = optimizer
        self._manager: StructuredEpisodeManager | RateSearchManager
        if finds:
            if len(lrs) > 1 or len(noises) > 1 or context_mode != "none" or travel is not None:
                raise ValueError(
                    "control_mode='find' must have one lr_candidate, one noise_candidate, no context and no travel; it "
                    "searches for the factor itself"
                )
            search = RateSearch(total_training_steps or 1)
            self._manager = RateSearchManager(
                search, noises[0], reward_fn, episode_length, ema_alpha, reward_baseline, log_limit
            )
        else:
            controllers = build_controllers(
                len(lrs),
                len(noises),
                mode=structured_control_mode,
                context=context_mode,
                random=control_mode == "random",
                seed=seed,
                exploration_coef=exploration_coef,
                discount=discount,
            )
            self._manager = StructuredEpisodeManager(
                lrs,
                noises,
                *controllers,
                reward_fn,
                episode_length,
                structured_control_mode,
                context_mode,
                total_training_steps if context_mode == "trend_phase" else None,
                context_trend_window,
                context_trend_epsilon,
                ema_alpha,
                context_trend_epsilon_mode=context_trend_epsilon_mode,
                reward_baseline=reward_baseline,
                log_limit=log_limit,
                travel=travel,
            )
        self._noise = NoiseSource(seed, noise_streams == "shared", not noise_on_zeros)
        self._step = OptimizerStep(optimizer, self._noise, UpdateNorm() if track_update_norm else None)
        self._observed = ObservedLosses()
        self._step.measures_alignment = finds or isinstance(reward_fn, AlignmentReward)
        self._schedule = None if lr_scheduler is None else ScheduleStep(lr_scheduler)
        self._anneal = (total_training_steps or 1, anneal_share) if anneal_share > 0.0 else None
        self._reads_late = read_losses == "episode"
        self._unread: list[tuple[float | Tensor, int | None, float | None, Tensor | float | None]] = []
        self._control_mode = control_mode
        self._skip_nonfinite = on_nonfinite == "skip"
        self._writer = writer
        self._sync_ranks, self._process_group = sync_ranks, process_group
        self._agreed = False  # whether the ranks have taken over the first one's state
        self._candidate: CandidateConfig | None = None
        self._open = False
        self._refused = False  # whether the open step's step_end raised
        self._hooks: list[Any] = []  # while attached
        self._loss: float | Tensor | None = None  # of the hooked step that is being taken
        self._has_loss = False  # whether that loss came before the step
        self._idle = False  # whether the hooked step only creates the optimizer's state

    @classmethod
    def find_rate(
        cls, optimizer: Optimizer, total_training_steps: int, *, anneal_share: float = 0.3, **settings: Any
    ) -> Self:
        """Returns a controller that searches for the learning rate, holds it, and anneals it at the end.

        The search starts at a tenth of the optimizer's rate and moves every 5 steps. It ends after two episodes in
        which negative gradients no longer point along the previous update, at the latest after 30 % of the run;
        equations (19) to (24). The search keeps one copy of the parameters.

        Args:
            optimizer: the optimizer to control; the factor is relative to its rate.
            total_training_steps: steps of the run.
            anneal_share: share of the run, at its end, over which the rate falls linearly to zero, in [0, 1].
            settings: further keyword arguments of `AEES`.

        Returns:
            A controller in mode ``"find"``.

        Raises:
            TypeError: an argument is of the wrong type.
            ValueError: an argument lies outside its range.

        >>> import torch
        >>> from pulseopt import AEES
        >>> weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
        >>> optimizer = torch.optim.SGD([weight], lr=0.01)
        >>> aees = AEES.find_rate(optimizer, total_training_steps=100)
        >>> for step in range(100):
        ...     candidate = aees.step_start(step)
        ...     optimizer.zero_grad()
        ...     loss = weight.pow(2).sum()
        ...     loss.backward()
        ...     aees.step_end(loss)
        >>> aees.rate_multiplier > 1.0
        True
        """
        settings = {"control_mode": "find", "anneal_share": anneal_share, **settings}
        return cls(optimizer, total_training_steps=total_training_steps, **settings)

    @property
    def rate_multiplier(self) -> float:
        """The factor found by a search, or the product of the factors by which ``travel`` moved; 1 without either."""
        return self._manager.rate_multiplier

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer that was passed."""
        return self._optimizer

    @property
    def current_candidate(self) -> CandidateConfig | None:
        """The open step's candidate, or None between steps."""
        return self._candidate

    @property
    def episode_manager(self) -> StructuredEpisodeManager | RateSearchManager:
        """The episode manager, for inspection."""
        return self._manager

    @property
    def awaiting_loss(self) -> bool:
        """Returns whether a hooked step has been taken whose loss has not been observed yet."""
        return bool(self._hooks) and (self._observed.waiting_for_loss or self._observed.ignores_next)

    def step_start(self, global_step: int) -> CandidateConfig:
        """Opens a step and returns its candidate.

        Args:
            global_step: number of the step, at least 0.

        Returns:
            The candidate that `step_end` will run with.

        Raises:
            RuntimeError: a step is open, or the controller is attached.
            TypeError: ``global_step`` is not an integer.
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
        """Steps the optimizer with the candidate, then the scheduler, and scores the loss.

        If it raises before or inside the optimizer's step, nothing has changed and the step is still open: call it
        again, call `step_skip`, or continue with the next `step_start`.

        Args:
            loss: the unscaled loss of this step, one number.
            scaler: the GradScaler of the backward pass. Gradients are unscaled before noise is added; a step that the
                scaler skips is not scored, and the scheduler is not stepped. Call ``scaler.update()`` yourself.
            metrics: the metric for a scheduler like ReduceLROnPlateau, which is not stepped without one.
            closure: passed to the optimizer's step; noise is added after each of its calls.

        Raises:
            RuntimeError: no step is open, the controller is attached, or gradients are still scaled.
            TypeError: ``loss`` is not a number.
            ValueError: ``loss`` holds several numbers or is not finite, or the arguments contradict each other.
        """
        self._refuse_attached("step_end")
        candidate = self._candidate
        if not self._open or candidate is None:
            raise RuntimeError("step_end() called without a preceding step_start().")
        self._refused = True
        value = self._read(loss, "step_end")
        if value is None:
            self._close_step()
            return
        if self._schedule is not None:
            self._schedule.check(metrics)
        elif metrics is not None:
            raise ValueError("metrics must be None unless lr_scheduler is stepped with them, as ReduceLROnPlateau is")
        idle = self._step.rates_are_zero()
        stepped = self._step.take(None if idle else candidate, scaler, closure)
        self._close_step()
        if not stepped:
            return
        try:
            if not idle:
                self._score(value, self._manager.current_step, self._step.update_norm())
        finally:  # a reward that fails must not hold the schedule up
            if self._schedule is not None:
                self._schedule.take(metrics)

    def step_skip(self) -> None:
        """Closes the open step without stepping the optimizer or the scheduler, and without scoring it.

        Raises:
            RuntimeError: no step is open, or the controller is attached.
        """
        self._refuse_attached("step_skip")
        if not self._open:
            raise RuntimeError("step_skip() called without a preceding step_start().")
        self._close_step()

    def finalize(self) -> None:
        """Closes and scores the last, partial episode.

        Raises:
            RuntimeError: a step is open.
        """
        if self._open and not self._refused:
            raise RuntimeError("finalize() called with an open step — call step_end() first.")
        self._close_step()
        self._record_unread()
        self._report(self._manager.finalize())

    def attach(self) -> Self:
        """Hooks into the optimizer: from now on every ``optimizer.step()`` runs with the episode's candidate.

        For trainers that call the step themselves. Feed the losses to `observe`. Learning rates are the optimizer's
        own again when the step returns; after a step that raised, when the next one begins.

        Returns:
            The controller itself.

        Raises:
            RuntimeError: a step is open, or the optimizer has this or another controller attached already.

        >>> import torch
        >>> from pulseopt import AEES
        >>> weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
        >>> optimizer = torch.optim.SGD([weight], lr=0.1)
        >>> aees = AEES(optimizer, lr_candidates=[0.5, 1.0, 2.0], episode_length=2, seed=0).attach()
        >>> for _ in range(6):
        ...     optimizer.zero_grad()
        ...     loss = weight.pow(2).sum()
        ...     loss.backward()
        ...     aees.observe(loss)
        ...     optimizer.step()
        >>> aees.detach()
        >>> len(aees.get_logs()["episode_rewards"])
        3
        """
        if self._open:
            raise RuntimeError("attach() must come between steps; call step_end() or step_skip() first")
        if self._hooks:
            raise RuntimeError("attach() must be called once; call detach() first")
        inner = innermost(self._optimizer)
        hooks = inner._optimizer_step_pre_hooks.values()  # pyright: ignore[reportPrivateUsage]
        if any(isinstance(getattr(hook, "__self__", None), AEES) for hook in hooks):
            raise RuntimeError(
                "an optimizer must have one controller, and another AEES is attached to this one; "
                "call its detach() first"
            )
        self._hooks = [
            inner.register_step_pre_hook(self._before_step),
            inner.register_step_post_hook(self._after_step),
        ]
        return self

    def detach(self) -> None:
        """Removes the hooks; does nothing where there are none."""
        if self._hooks:
            self._step.cancel()
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def observe(self, loss: float | Tensor) -> None:
        """Records a loss before ``optimizer.step()`` or, if the step came first, for that step.

        Several losses before one step, as with gradient accumulation, are averaged.

        Args:
            loss: one number.

        Raises:
            RuntimeError: the controller is not attached.
            TypeError: ``loss`` is not a number.
            ValueError: ``loss`` holds several numbers, or is not finite and ``on_nonfinite`` is ``"raise"``; no step is
                scored with it.
        """
        if not self._hooks:
            raise RuntimeError("observe() must follow attach(); in your own loop pass the loss to step_end()")
        observed = self._observed
        if observed.waiting_for_loss:
            observed.waiting_for_loss = False
            self._score(self._read(loss, "observe"), observed.steps - 1, observed.update_norm)
            return
        check_loss(loss)
        if observed.ignores_next:
            observed.ignores_next = False
            return
        if not isinstance(loss, Tensor) and not math.isfinite(loss) and not self._skip_nonfinite:
            raise ValueError("loss passed to observe() must be finite.")
        observed.add(loss)

    def get_logs(self) -> dict[str, list[object]]:
        """Returns the closed episodes as columns of equal length, oldest first; the lists are copies."""
        return self._manager.get_logs()

    def save_logs(self, path: str | Path) -> None:
        """Writes the closed episodes as JSON lines, one object per episode; ``python -m pulseopt.plot`` plots them.

        Args:
            path: the file to write.
        """
        self._manager.save_logs(path)

    def state_dict(self) -> dict[str, Any]:
        """Returns the controllers, the open episode, the noise streams and the log, as plain values and tensors.

        Save the states of the optimizer and the scheduler beside it. ``torch.load(weights_only=True)`` reads it.
        """
        return {
            "version": 1,
            "control_mode": self._control_mode,
            "open": self._open,
            "refused": self._refused,
            "candidate": self._candidate and asdict(self._candidate),
            "attachment": self._observed.state_dict(),
            "scaled": self._step.scaled,
            "schedule_steps": 0 if self._schedule is None else self._schedule.steps,
            "unread": [[*read_numbers([loss]), step, norm, _number(q)] for loss, step, norm, q in self._unread],
            "last_update": self._step.last_update(),
            "alignment": _number(self._step.alignment),
            **self._shared_state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resumes from a checkpoint, also in the middle of an episode or of a step.

        Args:
            state_dict: the result of `state_dict`.

        Raises:
            ValueError: it was saved under other settings (other than the seed); nothing has been changed.
        """
        check_same(self, {"version": 1, "control_mode": self._control_mode}, state_dict)
        candidate = state_dict["candidate"]
        candidate = None if candidate is None else CandidateConfig(**candidate)
        self._load_shared(state_dict)
        self._open, self._refused, self._candidate = state_dict["open"], state_dict["refused"], candidate
        self._step.scaled = state_dict["scaled"]
        if state_dict["attachment"] is not None:
            self._observed.load_state_dict(state_dict["attachment"])
        if self._schedule is not None:
            self._schedule.steps = state_dict.get("schedule_steps", 0)
        self._unread = [(loss, step, norm, q) for loss, step, norm, q in state_dict.get("unread", ())]
        self._set_alignment()
        self._step.load_last_update(state_dict.get("last_update", {}))
        self._step.alignment = state_dict.get("alignment")

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles keep everything but the writer and the process group; attached ones attach again."""
        return {**self.__dict__, "_writer": None, "_process_group": None, "_hooks": bool(self._hooks)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores the parts and sets the hooks anew."""
        self.__dict__.update(state, _hooks=[])
        if state["_hooks"]:
            self.attach()

    def __repr__(self) -> str:
        """Shows the current candidate and the controllers' estimate of each arm."""
        now = self._manager.open_candidate
        candidate = f"candidate={now.name}" if now else "no open episode"
        return f"{type(self).__name__}({type(self._optimizer).__name__}, {candidate}, {self._manager.estimates()})"

    def _repr_html_(self) -> str:
        """Returns what a notebook shows: the open candidate, the estimates, and the closed episodes as a picture."""
        now, logs = self._manager.open_candidate, self.get_logs()
        values: dict[str, object] = {"candidate": now.name if now else "no open episode"}
        values |= {"episodes closed": len(logs["episode_rewards"]), "estimates": self._manager.estimates()}
        return as_html(f"{type(self).__name__} around {type(self._optimizer).__name__}", values, logs)

    def _choose(self, global_step: int) -> CandidateConfig:
        """Returns the step's candidate, the same on all ranks."""
        if self._sync_ranks and not self._agreed and is_distributed():
            self._load_shared(from_first_rank(self._shared_state(), self._process_group))
            self._agreed = True
        candidate = self._manager.on_step_start(global_step)
        if self._anneal is None:
            return candidate
        annealed = anneal(global_step, *self._anneal)
        return candidate if annealed == 1.0 else replace(candidate, lr_multiplier=candidate.lr_multiplier * annealed)

    def _read(self, loss: float | Tensor, method: str) -> float | Tensor | None:
        """Returns a loss as a float, the one check of it; None where a non-finite one is to be skipped.

        One that is to be read at the end of the episode comes back as it is.
        """
        check_loss(loss)
        if self._reads_late:
            return loss.detach().clone() if isinstance(loss, Tensor) else float(loss)
        value = read_losses([loss], self._sync_ranks, self._process_group)[0]
        if math.isfinite(value):
            return value
        if self._skip_nonfinite:
            return None
        raise ValueError(f"loss passed to {method}() must be finite.")

    def _score(self, loss: float | Tensor | None, step: int | None, update_norm: float | None) -> None:
        """Records a step with its loss, at once or with the episode's others."""
        if loss is None:
            return
        if not self._reads_late and not self._unread:
            self._report(self._manager.record(float(loss), update_norm, self._step.alignment, step))
            return
        self._unread.append((loss, step, update_norm, self._step.alignment))
        if not self._reads_late or len(self._unread) >= self._manager.steps_left:
            self._record_unread()

    def _record_unread(self) -> None:
        """Reads and records the losses that are still on the device."""
        if not self._unread:
            return
        unread, self._unread = self._unread, []
        losses = read_losses([loss for loss, *_ in unread], self._sync_ranks, self._process_group)
        if not self._skip_nonfinite and not all(map(math.isfinite, losses)):
            raise ValueError(
                f"the losses of an episode must be finite, got {losses}; none of them is scored. Their steps have "
                "been taken: read_losses='episode' looks at losses when an episode ends"
            )
        for loss, (_, step, norm, q) in zip(losses, unread, strict=True):
            if math.isfinite(loss):
                self._report(self._manager.record(loss, norm, q, step))

    def _set_alignment(self) -> None:
        """Stops comparing steps once a search is over."""
        if isinstance(self._manager, RateSearchManager):
            self._step.measures_alignment = self._manager.search.searching

    def _report(self, row: Mapping[str, Any] | None) -> None:
        """Hands the log's row of an episode that has ended to the writer."""
        if row is None:
            return
        self._set_alignment()
        if self._writer is not None:
            write_scalars(self._writer, row)

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        self._step.cancel()  # what a step that raised has left
        observed = self._observed
        self._idle = self._step.rates_are_zero()
        if self._idle:
            if not self._step.gradients_are_zero():  # a real step, whose loss must not be taken for another's
                observed.ignores_next = observed.take() is None
                observed.waiting_for_loss = False
            self._step.begin(None, None)
            return None
        observed.count_unheard(self._manager.episode_length if self._manager.learns else None)
        loss = observed.take()
        self._has_loss, self._loss = loss is not None, None
        if loss is not None:
            self._loss = self._read(loss, "observe")
        candidate = self._choose(observed.steps)
        closure = closure_in(args, kwargs)
        wrapped = self._step.begin(candidate, closure)
        return None if closure is None else with_closure(args, kwargs, wrapped)

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not self._step.end() or self._idle:
            return
        observed = self._observed
        observed.steps += 1
        norm = self._step.update_norm()
        if self._has_loss:
            self._score(self._loss, observed.steps - 1, norm)
        else:
            observed.waiting_for_loss, observed.update_norm = True, norm

    def _shared_state(self) -> dict[str, Any]:
        return {"manager": self._manager.state_dict(), "seed": self._noise.seed, "noise": self._noise.states()}

    def _load_shared(self, state: dict[str, Any]) -> None:
        self._manager.load_state_dict(state["manager"])
        self._noise.load(state["seed"], state["noise"])

    def _close_step(self) -> None:
        self._open, self._refused, self._candidate = False, False, None

    def _refuse_attached(self, method: str) -> None:
        if self._hooks:
            raise RuntimeError(
                f"{method}() must not be called while attached: the optimizer's own step() is the step now; "
                "pass losses to observe(), or call detach() first"
            )


def _check_choice(name: str, value: str, choices: tuple[str, ...], also: str = "") -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {sorted(choices)}, got {value!r}.{also}")


def _number(value: float | Tensor | None) -> float | None:
    return value.item() if isinstance(value, Tensor) else value
