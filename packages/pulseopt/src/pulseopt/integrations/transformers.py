"""AEES inside the Transformers Trainer (extra ``transformers``).

Callbacks there do not see the loss, so this is a mixin::

    class MyTrainer(AEESTrainerMixin, Trainer): ...

    trainer = MyTrainer(..., aees_settings={"lr_candidates": (0.5, 1.0, 2.0), "seed": 0})
"""

# The Trainer's own types are partly unknown.
# pyright: reportUnknownMemberType=false

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pulseopt.scheduler import AEES

__all__ = ["AEESTrainerMixin"]

if TYPE_CHECKING:
    from transformers import Trainer as _Base
else:
    _Base = object

_FILE = "pulseopt.pt"


class AEESTrainerMixin(_Base):
    """Runs the trainer's optimizer under an `AEES` controller; list it before ``Trainer`` among the bases.

    Schedulers are still stepped by the trainer and keep their curve, steps skipped after an overflow are not scored,
    and checkpoints hold the controller's state in a separate file.

    Args:
        aees_settings: the keyword arguments of `AEES`.
        args: positional arguments of the trainer.
        kwargs: keyword arguments of the trainer.

    Attributes:
        aees: the controller; None until the optimizer has been created.
    """

    def __init__(self, *args: Any, aees_settings: dict[str, Any] | None = None, **kwargs: Any) -> None:
        self.aees: AEES | None = None
        self._aees_settings = aees_settings or {}
        self._aees_loss: Tensor | None = None
        super().__init__(*args, **kwargs)

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """Creates the trainer's optimizer, attaches to it, and returns it."""
        optimizer: Any = super().create_optimizer(*args, **kwargs)
        if self.aees is not None and self.aees.optimizer is not optimizer:
            self.aees.detach()
            self.aees = None
        if self.aees is None:
            self.aees = AEES(optimizer, **self._aees_settings).attach()
        return optimizer

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Runs a micro-batch and returns its loss; after the last one, feeds the loss of the step.

        The trainer divides the losses of micro-batches, so that they sum to the loss of the step.
        """
        loss = super().training_step(*args, **kwargs)
        part = loss.detach()
        self._aees_loss = total = part if self._aees_loss is None else self._aees_loss + part
        if self.accelerator.sync_gradients and self.aees is not None:
            self._aees_loss = None
            self.aees.observe(total)
        return loss

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Trains, closes the last episode, and returns the trainer's output."""
        output = super().train(*args, **kwargs)
        if self.aees is not None:
            self.aees.finalize()
        return output

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.aees is not None and self.args.should_save:
            torch.save(self.aees.state_dict(), Path(output_dir) / _FILE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        file = None if checkpoint is None else Path(checkpoint) / _FILE
        if self.aees is not None and file is not None and file.exists():
            self.aees.load_state_dict(torch.load(file, weights_only=True, map_location="cpu"))
