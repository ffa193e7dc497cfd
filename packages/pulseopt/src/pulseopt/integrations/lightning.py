"""AEES as a Lightning callback (extra ``lightning``)."""

# Lightning's own types are partly unknown.
# pyright: reportUnknownMemberType=false

from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from pulseopt.scheduler import AEES


class AEESCallback(Callback):
    """Runs one of the trainer's optimizers under an `AEES` controller, with automatic or manual optimization.

    The controller hooks into the optimizer when training starts; schedulers stay the trainer's and keep their curve,
    steps that an overflow skips are not scored, and the trainer's checkpoints hold the controller's state.

    Args:
        optimizer_index: which of ``configure_optimizers``'s optimizers.
        settings: the keyword arguments of `AEES`.

    Attributes:
        aees: the controller; None before training starts.
    """

    def __init__(self, optimizer_index: int = 0, **settings: Any) -> None:
        self.aees: AEES | None = None
        self._index = optimizer_index
        self._settings = settings
        self._loaded: dict[str, Any] | None = None
        self._ended = False
        self._loss: Tensor | None = None

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
        """Forgets the loss of a step that an overflow has skipped."""
        self._loss = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Feeds the loss; with accumulation Lightning divides it, so that the micro-batches' sum is the step's."""
        found = cast(dict[str, Any], outputs).get("loss") if isinstance(outputs, dict) else outputs
        if found is None or self.aees is None:
            return
        part: Tensor = found.detach()
        self._loss = total = part if self._loss is None else self._loss + part
        if self.aees.awaiting_loss:
            self._loss = None
            self.aees.observe(total)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Closes the last episode and leaves the optimizer as it was; a checkpoint still holds the open episode."""
        if self.aees is not None:
            self.aees.detach()
            self._loaded = self.aees.state_dict()
            self._ended = True
            self.aees.finalize()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leaves the optimizer as it was."""
        if self.aees is not None:
            self.aees.detach()

    def state_dict(self) -> dict[str, Any]:
        """Returns the controller's state, for the trainer's checkpoint."""
        return {"aees": self._loaded if self.aees is None or self._ended else self.aees.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keeps the state for when training starts."""
        self._loaded = state_dict["aees"]
