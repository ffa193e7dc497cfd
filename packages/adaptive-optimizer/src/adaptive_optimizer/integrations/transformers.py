"""For Transformers: a Trainer that feeds each training loss, and a metric as the reward (extra ``transformers``)."""

from typing import Any

from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from adaptive_optimizer.adaptive_optimizer import AdaptiveOptimizer
from adaptive_optimizer.integrations import unwrapped


class AdaptiveTrainerMixin:
    """A mix-in that stands before ``Trainer``, or a subclass of it: ``class MyTrainer(AdaptiveTrainerMixin, Trainer)``.

    Pass the optimizer as ``optimizers=(AdaptiveOptimizer(...), None)``; checkpoints hold its state. The loss of each
    micro batch is fed as ``training_step`` returns it, before the step. With ``gradient_accumulation_steps=k`` give the
    optimizer ``accumulate=k``.
    """

    optimizer: Any

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Makes Trainer's own training step, then feeds its loss."""
        parent: Any = super()
        loss: Tensor = parent.training_step(*args, **kwargs)
        adaptive(self.optimizer).step_loss(loss)
        return loss


class AdaptiveTrainer(AdaptiveTrainerMixin, Trainer):
    """``Trainer`` that feeds the loss to its ``AdaptiveOptimizer``."""


class RewardCallback(TrainerCallback):
    """Feeds a metric of each evaluation as the reward.

    Args:
        reward: its name, for example "eval_accuracy".
        larger_is_better: False feeds it with its sign changed, as for "eval_loss".
    """

    def __init__(self, reward: str, *, larger_is_better: bool = True) -> None:
        self.reward = reward
        self.larger_is_better = larger_is_better

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Feeds the metric."""
        metrics: dict[str, float] = kwargs["metrics"]
        if self.reward not in metrics:
            raise ValueError(f"reward must be one of {', '.join(sorted(metrics))}, got {self.reward!r}")
        optimizer = kwargs.get("optimizer")
        if optimizer is not None:  # trainer.evaluate() without training has none
            value = metrics[self.reward]
            adaptive(optimizer).step_reward(value if self.larger_is_better else -value)


def adaptive(optimizer: object) -> AdaptiveOptimizer:
    """Returns the ``AdaptiveOptimizer`` inside what Accelerate wrapped around it.

    Raises:
        TypeError: there is another optimizer.
    """
    return unwrapped(optimizer, "the trainer's optimizer", "pass optimizers=(AdaptiveOptimizer(...), None)")
