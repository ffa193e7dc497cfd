"""AEES as a Lightning callback (extra ``lightning``)."""

# Lightning's own types are partly unknown.
# pyright: reportUnknownMemberType=false

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from pulseopt.scheduler import AEES


class AEESCallback(Callback):
    """Runs one of the trainer's optimizers under an `AEES` controller, with automatic or manual optimization.

    The controller attaches to the optimizer when training starts. Schedulers are still stepped by the trainer and keep
    their curve, steps skipped after an overflow are not scored, and checkpoints of the trainer hold the controller's
    state. The loss of a step is the sum of the losses of all backward passes since the last step of any optimizer. So
    each of several optimizers receives its own losses, whatever ``training_step`` returns; optimizers that step without
    a backward pass in between share them.

    Args:
        optimizer_index: position of the optimizer in the result of ``configure_optimizers``; add one callback for each
            optimizer to control.
        settings: the keyword arguments of `AEES`.

    Attributes:
        aees: the controller; None before training starts.

    >>> from pulseopt.integrations.lightning import AEESCallback
    >>> AEESCallback(lr_candidates=[0.5, 1.0, 2.0], episode_length=50, seed=0).state_key
    'AEESCallback[optimizer_index=0]'
    """

    def __init__(self, optimizer_index: int = 0, **settings: Any) -> None:
        self.aees: AEES | None = None
        self._index = optimizer_index
        self._settings = settings
        self._loaded: dict[str, Any] | None = None
        self._ended = False
        self._backward: Tensor | None = None  # what went backward since the last step
        self._last: Tensor | None = None  # the same, of the last step
        self._loss: Tensor | None = None  # of this optimizer's step, not fed yet

    @property
    def state_key(self) -> str:
        """The key of this callback in checkpoints, one for each optimizer."""
        return f"{type(self).__name__}[optimizer_index={self._index}]"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Attaches to the optimizer."""
        if self.aees is not None:
            self.aees.detach()
        self.aees = AEES(trainer.optimizers[self._index], **self._settings)
        if self._loaded is not None:  # from a checkpoint, or from an earlier fit
            self.aees.load_state_dict(self._loaded)
        self.aees.attach()
        self._ended = False

    def on_before_zero_grad(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Drops the loss of a step that was skipped after an overflow."""
        self._backward = None

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Adds a loss; under accumulation Lightning divides it, so the micro-batches sum to the loss of the step."""
        self._feed()
        part = loss.detach()
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is not None:
            part = part / scaler.scale(torch.ones_like(part))
        self._backward = part if self._backward is None else self._backward + part

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Keeps the loss if this optimizer is the one that steps."""
        self._feed()
        if self._backward is not None:
            self._last, self._backward = self._backward, None
        if self.aees is not None and getattr(optimizer, "optimizer", optimizer) is self.aees.optimizer:
            self._loss = self._last

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Feeds the loss of the last step of the batch."""
        self._feed()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Closes the last episode and detaches; a later checkpoint still holds the open episode."""
        if self.aees is not None:
            self.aees.detach()
            self._loaded = self.aees.state_dict()
            self._ended = True
            self.aees.finalize()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Detaches from the optimizer."""
        if self.aees is not None:
            self.aees.detach()

    def state_dict(self) -> dict[str, Any]:
        """Returns the controller's state, for the trainer's checkpoint."""
        return {"aees": self._loaded if self.aees is None or self._ended else self.aees.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keeps the state until training starts."""
        self._loaded = state_dict["aees"]

    def _feed(self) -> None:
        """Hands the loss of the step that was taken to the controller; that of a skipped step is dropped."""
        loss, self._loss = self._loss, None
        if loss is not None and self.aees is not None and self.aees.awaiting_loss:
            self.aees.observe(loss)
