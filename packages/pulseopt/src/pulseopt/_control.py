"""A controller's parts: how they are saved, copied, shown and shared among ranks."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from torch import Tensor
from torch.optim import Optimizer

from pulseopt import _distributed
from pulseopt._records.checkpoint import check_same
from pulseopt._records.report import estimates, write_scalars
from pulseopt._step.hooks import Attachment
from pulseopt._step.noise import NoiseSource
from pulseopt._step.optimizer_step import Stepper
from pulseopt.episode import StructuredEpisodeManager
from pulseopt.types import CandidateConfig


class Control:
    """What both ways of using a controller share: the parts, the logs, the state, the trainer's hooks."""

    def __init__(
        self,
        optimizer: Optimizer,
        manager: StructuredEpisodeManager,
        noise: NoiseSource,
        stepper: Stepper,
        control_mode: str,
        skip_nonfinite: bool,
        writer: Any,
        ranks: tuple[bool, Any],
    ) -> None:
        self._optimizer = optimizer
        self._manager = manager
        self._noise = noise
        self._stepper = stepper
        self._control_mode = control_mode
        self._skip_nonfinite = skip_nonfinite
        self._writer = writer
        self._sync_ranks, self._process_group = ranks
        self._agreed = False  # whether the ranks have taken over the first one's state
        self._candidate: CandidateConfig | None = None
        self._open = False
        self._refused = False  # whether the open step's step_end raised
        self._attachment: Attachment | None = None
        self._attachment_state: dict[str, Any] | None = None  # loaded before attach()
        manager.listener = self._report

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer that was passed."""
        return self._optimizer

    @property
    def current_candidate(self) -> CandidateConfig | None:
        """The open step's candidate, or None between steps."""
        return self._candidate

    @property
    def episode_manager(self) -> StructuredEpisodeManager:
        """The manager, to look at."""
        return self._manager

    @property
    def awaiting_loss(self) -> bool:
        """Whether a hooked step has been taken whose loss has not been observed yet."""
        return self._attachment is not None and self._attachment.awaiting

    def attach(self) -> Self:
        """Hook into the optimizer: from now on every ``optimizer.step()`` runs with the episode's candidate.

        For trainers that call the step themselves. Feed the losses to `observe`. Learning rates are the optimizer's
        own again when the step returns; after a step that raised, when the next one begins.

        Returns:
            The controller itself.

        Raises:
            RuntimeError: a step is open, or the controller is attached already.
        """
        if self._open:
            raise RuntimeError("attach() must come between steps; call step_end() or step_skip() first")
        if self._attachment is not None:
            raise RuntimeError("attach() must be called once; call detach() first")
        inner = self._optimizer
        while isinstance(wrapped := getattr(inner, "optimizer", None), Optimizer):
            inner = wrapped  # Accelerate's wrapper calls the step of the one inside
        self._attachment = Attachment(
            inner, self._stepper, self._manager, self._choose, self._read, self._skip_nonfinite
        )
        if self._attachment_state is not None:
            self._attachment.load_state_dict(self._attachment_state)
        return self

    def detach(self) -> None:
        """Take the hooks off; nothing happens where there are none."""
        if self._attachment is not None:
            self._attachment_state = self._attachment.state_dict()
            self._attachment.detach()
            self._attachment = None

    def observe(self, loss: float | Tensor) -> None:
        """Take in a loss of the step to come, or, where one waits for it, of the step just taken.

        Several losses before one step, as with gradient accumulation, are averaged.

        Raises:
            RuntimeError: the controller is not attached.
            TypeError: ``loss`` is no number.
            ValueError: ``loss`` holds several, or is not finite and on_nonfinite is ``"raise"``; it scores no step.
        """
        if self._attachment is None:
            raise RuntimeError("observe() must follow attach(); in your own loop pass the loss to step_end()")
        self._attachment.observe(loss)

    def get_logs(self) -> dict[str, list[object]]:
        """Return the closed episodes as columns of equal length, oldest first; the lists are copies."""
        return self._manager.get_logs()

    def save_logs(self, path: str | Path) -> None:
        """Write the closed episodes as JSON lines, one object an episode; ``python -m pulseopt.plot`` draws them."""
        self._manager.save_logs(path)

    def state_dict(self) -> dict[str, Any]:
        """Return the controllers, the open episode, the noise streams and the log, as plain values and tensors.

        The optimizer and the scheduler are not in it; save them beside it. ``torch.load(weights_only=True)`` reads it.
        """
        attachment = self._attachment_state if self._attachment is None else self._attachment.state_dict()
        return {
            "version": 1,
            "control_mode": self._control_mode,
            "open": self._open,
            "refused": self._refused,
            "candidate": self._candidate and asdict(self._candidate),
            "attachment": attachment,
            "scaled": self._stepper.scaled,
            **self._shared_state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the saved controller stood, in the middle of an episode or of a step.

        Raises:
            ValueError: it was built with other settings (the seed aside); nothing has been changed.
        """
        check_same(self, {"version": 1, "control_mode": self._control_mode}, state_dict)
        candidate = state_dict["candidate"]
        candidate = None if candidate is None else CandidateConfig(**candidate)
        self._load_shared(state_dict)
        self._open, self._refused, self._candidate = state_dict["open"], state_dict["refused"], candidate
        self._stepper.scaled = state_dict["scaled"]
        self._attachment_state = state_dict["attachment"]
        if self._attachment is not None and self._attachment_state is not None:
            self._attachment.load_state_dict(self._attachment_state)

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles keep everything but the writer and the process group; attached ones attach again."""
        state = self.__dict__.copy()
        attachment = self._attachment
        state.update(_writer=None, _process_group=None, _attachment=attachment is not None)
        if attachment is not None:
            state["_attachment_state"] = attachment.state_dict()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the parts over; hooks are set anew."""
        attached = state["_attachment"]
        self.__dict__.update(state, _attachment=None)
        if attached:
            self.attach()

    def __repr__(self) -> str:
        """Show the current candidate and what the controllers think of each arm."""
        now = self._manager.open_candidate
        candidate = f"candidate={now.name}" if now else "no open episode"
        return f"{type(self).__name__}({type(self._optimizer).__name__}, {candidate}, {estimates(self._manager)})"

    def _choose(self, global_step: int) -> CandidateConfig:
        """Return the step's candidate, the same on all ranks."""
        if self._sync_ranks and not self._agreed and _distributed.together():
            self._load_shared(_distributed.from_first_rank(self._shared_state(), self._process_group))
            self._agreed = True
        return self._manager.on_step_start(global_step)

    def _read(self, loss: float | Tensor) -> float:
        return _distributed.read_loss(loss, self._sync_ranks, self._process_group)

    def _shared_state(self) -> dict[str, Any]:
        return {"manager": self._manager.state_dict(), "seed": self._noise.seed, "noise": self._noise.states()}

    def _load_shared(self, state: dict[str, Any]) -> None:
        self._manager.load_state_dict(state["manager"])
        self._noise.load(state["seed"], state["noise"])

    def _report(self, row: Mapping[str, Any]) -> None:
        if self._writer is not None:
            write_scalars(self._writer, row)
