"""The promises, each a function that takes a case and raises ``AssertionError`` where the case breaks it."""

from testkit.promises.checkpoints import a_checkpoint_continues_to_the_bit
from testkit.promises.gradients import gradients_are_left_as_they_were, no_gradient_no_change
from testkit.promises.randomness import the_global_stream_is_left_alone, the_same_seed_gives_the_same_run

TRIAL_PROMISES = [
    a_checkpoint_continues_to_the_bit,
    the_global_stream_is_left_alone,
    the_same_seed_gives_the_same_run,
]
"""What anything that trains promises, optimizer or not."""

PROMISES = [
    *TRIAL_PROMISES,
    no_gradient_no_change,
    gradients_are_left_as_they_were,
]
"""What every optimizer promises."""

__all__ = ["PROMISES", "TRIAL_PROMISES"]
