"""For Lightning: a callback that feeds each training loss, and a logged metric as the reward (extra ``lightning``)."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from adaptive_optimizer.adaptive_optimizer import AdaptiveOptimizer
from adaptive_optimizer.integrations._unwrap import unwrapped

LONGEST_WAIT = 1024  # losses that wait for their optimizer's step


class AdaptiveCallback(pl.Callback):
    """Feeds an ``AdaptiveOptimizer`` that ``configure_optimizers`` returned.

    The loss is read before each backward pass and unscaled, so it acts on the step that follows. Automatic and manual
    optimization (``self.manual_backward``) both work. With ``accumulate_grad_batches=k`` pass ``accumulate=k`` to the
    optimizer. With several optimizers use one callback for each: a loss goes to the optimizer that steps first among
    those whose parameters the loss depends on.

    Args:
        reward: name of a metric that the module logs, such as "val_accuracy"; it is fed after each validation.
        larger_is_better: False feeds the metric with reversed sign.
        optimizer: position of the optimizer in the result of ``configure_optimizers``.

    >>> from adaptive_optimizer.integrations.lightning import AdaptiveCallback
    >>> AdaptiveCallback("val_accuracy").state_key
    "AdaptiveCallback{'optimizer': 0}"
    """

    def __init__(self, reward: str | None = None, *, larger_is_better: bool = True, optimizer: int = 0) -> None:
        self.reward = reward
        self.larger_is_better = larger_is_better
        self.optimizer = optimizer
        self._waiting: deque[tuple[Tensor, set[int]]] = deque(maxlen=LONGEST_WAIT)

    @property
    def state_key(self) -> str:
        """The key of this callback in checkpoints, one for each optimizer."""
        return self._generate_state_key(optimizer=self.optimizer)

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Feeds the loss, or keeps it until one of its optimizers steps."""
        value = unscaled(trainer, loss.detach())
        if len(trainer.optimizers) == 1:
            adaptive(trainer.optimizers, self.optimizer).step_loss(value)
        else:
            self._waiting.append((value, reached(loss, trainer.optimizers)))

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Feeds the losses of the optimizer that is about to step."""
        steps = {index for index, each in enumerate(trainer.optimizers) if each is optimizer}
        due = [value for value, owners in self._waiting if owners & steps]
        self._waiting = deque([each for each in self._waiting if not each[1] & steps], maxlen=LONGEST_WAIT)
        for value in due if self.optimizer in steps else []:
            adaptive(trainer.optimizers, self.optimizer).step_loss(value)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Feeds the metric; the sanity-check run is ignored.

        Raises:
            ValueError: the module does not log the metric.
        """
        if self.reward is None or trainer.sanity_checking:
            return
        if self.reward not in trainer.callback_metrics:
            known = ", ".join(sorted(map(str, trainer.callback_metrics))) or "none"
            raise ValueError(
                f"reward must be a logged metric ({known}), got {self.reward!r}; log it in validation_step"
            )
        value = trainer.callback_metrics[self.reward]
        adaptive(trainer.optimizers, self.optimizer).step_reward(value if self.larger_is_better else -value)


def unscaled(trainer: pl.Trainer, loss: Tensor) -> Tensor:
    """Returns ``loss`` without the factor of a GradScaler, which Lightning applies before callbacks see the loss."""
    scaler: torch.amp.GradScaler | None = getattr(trainer.precision_plugin, "scaler", None)
    return loss if scaler is None else loss / scaler.scale(torch.ones_like(loss))


def reached(loss: Tensor, optimizers: Sequence[Optimizer]) -> set[int]:
    """Returns the positions of the optimizers whose parameters ``loss`` depends on, or of all if none is found."""
    owners: dict[int, int] = {}
    for index, optimizer in enumerate(optimizers):
        owners.update({id(p): index for group in optimizer.param_groups for p in group["params"]})
    found: set[int] = set()
    nodes: list[Any] = [loss.grad_fn]
    seen: set[Any] = {None}
    while nodes and len(found) < len(optimizers):
        node = nodes.pop()
        if node not in seen:
            seen.add(node)
            owner = owners.get(id(getattr(node, "variable", None)))
            found.update(() if owner is None else (owner,))
            nodes.extend(following for following, _ in node.next_functions)
    return found or set(range(len(optimizers)))


def adaptive(optimizers: Sequence[Optimizer], index: int) -> AdaptiveOptimizer:
    """Returns the ``AdaptiveOptimizer`` at ``index``, also from inside a strategy's wrapper.

    Raises:
        TypeError: the optimizer is another one.
    """
    return unwrapped(optimizers[index], f"optimizer {index}", "return one from configure_optimizers")
