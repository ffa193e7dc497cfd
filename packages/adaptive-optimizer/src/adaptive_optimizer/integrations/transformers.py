"""For Transformers: a Trainer that feeds each training loss, and a metric as the reward (extra ``transformers``)."""

from typing import Any

from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from adaptive_optimizer.adaptive_optimizer import AdaptiveOptimizer
from adaptive_optimizer.integrations._unwrap import unwrapped

__all__ = ["AdaptiveTrainer", "AdaptiveTrainerMixin", "RewardCallback"]


class AdaptiveTrainerMixin:
    """A mixin that feeds the loss of a ``Trainer``: ``class MyTrainer(AdaptiveTrainerMixin, Trainer)``.

    Pass the optimizer as ``optimizers=(AdaptiveOptimizer(...), None)``; checkpoints hold its state. The loss of each
    micro-batch is fed before the step. With ``gradient_accumulation_steps=k`` pass ``accumulate=k`` to the optimizer.
    """

    optimizer: Any

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Runs the trainer's own training step, feeds its loss, and returns it."""
        parent: Any = super()
        loss: Tensor = parent.training_step(*args, **kwargs)
        adaptive(self.optimizer).step_loss(loss)
        return loss


class AdaptiveTrainer(AdaptiveTrainerMixin, Trainer):
    """``Trainer`` that feeds the loss to its ``AdaptiveOptimizer``."""


class RewardCallback(TrainerCallback):
    """Feeds a metric of each evaluation as the reward.

    Args:
        reward: name of the metric, such as "eval_accuracy".
        larger_is_better: False feeds it with reversed sign, as for "eval_loss".

    >>> from adaptive_optimizer.integrations.transformers import RewardCallback
    >>> callback = RewardCallback("eval_loss", larger_is_better=False)
    """

    def __init__(self, reward: str, *, larger_is_better: bool = True) -> None:
        self.reward = reward
        self.larger_is_better = larger_is_better

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Feeds the metric.

        Raises:
            ValueError: the evaluation has no such metric.
        """
        metrics: dict[str, float] = kwargs["metrics"]
        if self.reward not in metrics:
            raise ValueError(f"reward must be one of {', '.join(sorted(metrics))}, got {self.reward!r}")
        optimizer = kwargs.get("optimizer")
        if optimizer is not None:  # trainer.evaluate() without training has none
            value = metrics[self.reward]
            adaptive(optimizer).step_reward(value if self.larger_is_better else -value)


def adaptive(optimizer: object) -> AdaptiveOptimizer:
    """Returns the ``AdaptiveOptimizer`` inside Accelerate's wrapper.

    Raises:
        TypeError: the optimizer is another one.
    """
    return unwrapped(optimizer, "the trainer's optimizer", "pass optimizers=(AdaptiveOptimizer(...), None)")
