"""For Lightning: a callback that feeds each training loss, and a logged metric as the reward (extra ``lightning``)."""

from collections.abc import Sequence

import lightning.pytorch as pl
from torch import Tensor
from torch.optim import Optimizer

from adaptive_optimizer.adaptive_optimizer import AdaptiveOptimizer
from adaptive_optimizer.integrations import unwrapped


class AdaptiveCallback(pl.Callback):
    """Feeds an ``AdaptiveOptimizer`` that ``configure_optimizers`` returned.

    The loss is taken before each backward pass, unscaled, so it acts on the step that follows. It works with automatic
    and with manual optimization (``self.manual_backward``). With ``accumulate_grad_batches=k`` give the optimizer
    ``accumulate=k``.

    Args:
        reward: the name of a metric that the module logs, for example "val_accuracy"; it is fed after each validation.
        larger_is_better: False feeds the metric with its sign changed.
        optimizer: which of the trainer's optimizers, by position.
    """

    def __init__(self, reward: str | None = None, *, larger_is_better: bool = True, optimizer: int = 0) -> None:
        self.reward = reward
        self.larger_is_better = larger_is_better
        self.optimizer = optimizer

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Feeds the loss."""
        adaptive(trainer.optimizers, self.optimizer).step_loss(loss.detach())

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Feeds the metric; the sanity-check run is ignored."""
        if self.reward is None or trainer.sanity_checking:
            return
        if self.reward not in trainer.callback_metrics:
            known = ", ".join(sorted(map(str, trainer.callback_metrics))) or "none"
            raise ValueError(
                f"reward must be a logged metric ({known}), got {self.reward!r}; log it in validation_step"
            )
        value = trainer.callback_metrics[self.reward]
        adaptive(trainer.optimizers, self.optimizer).step_reward(value if self.larger_is_better else -value)


def adaptive(optimizers: Sequence[Optimizer], index: int) -> AdaptiveOptimizer:
    """Returns the ``AdaptiveOptimizer`` at ``index``, out of what the strategy may have wrapped around it.

    Raises:
        TypeError: there is another optimizer.
    """
    return unwrapped(optimizers[index], f"optimizer {index}", "return one from configure_optimizers")
