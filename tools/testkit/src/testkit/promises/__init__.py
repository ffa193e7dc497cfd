"""The promises, each a function that takes a case and raises ``AssertionError`` where the case breaks it."""

from testkit.promises.checkpoints import a_checkpoint_continues_to_the_bit
from testkit.promises.closures import the_closure_is_called_once
from testkit.promises.equal_replicas import two_replicas_stay_equal
from testkit.promises.failures import a_failed_step_leaves_the_settings
from testkit.promises.gradients import gradients_are_left_as_they_were, no_gradient_no_change
from testkit.promises.groups import a_group_can_be_added_mid_run, group_overrides_are_used
from testkit.promises.kinds import complex_equals_its_real_view, sparse_gradients_are_refused_by_name
from testkit.promises.layouts import dtype_device_and_strides_survive, scalars_and_empty_parameters_are_fine
from testkit.promises.learning_rates import a_tensor_learning_rate_is_obeyed, schedulers_are_obeyed
from testkit.promises.paths import fast_equals_reference
from testkit.promises.randomness import the_global_stream_is_left_alone, the_same_seed_gives_the_same_run
from testkit.promises.scaling import an_overflow_step_changes_nothing
from testkit.promises.settings import documented_intervals_are_enforced, repr_shows_every_setting
from testkit.promises.twins import a_deep_copy_runs_on_alike, a_pickle_runs_on_alike
from testkit.promises.waiting import host_reads_are_bounded

TRIAL_PROMISES = [
    a_checkpoint_continues_to_the_bit,
    the_global_stream_is_left_alone,
    the_same_seed_gives_the_same_run,
    a_deep_copy_runs_on_alike,
]
"""What anything that trains promises, optimizer or not."""

PROMISES = [
    *TRIAL_PROMISES,
    no_gradient_no_change,
    gradients_are_left_as_they_were,
    the_closure_is_called_once,
    group_overrides_are_used,
    a_group_can_be_added_mid_run,
    dtype_device_and_strides_survive,
    scalars_and_empty_parameters_are_fine,
    sparse_gradients_are_refused_by_name,
    complex_equals_its_real_view,
    schedulers_are_obeyed,
    a_tensor_learning_rate_is_obeyed,
    a_failed_step_leaves_the_settings,
    a_pickle_runs_on_alike,
    documented_intervals_are_enforced,
    fast_equals_reference,
    host_reads_are_bounded,
    repr_shows_every_setting,
    an_overflow_step_changes_nothing,
    two_replicas_stay_equal,
]
"""What every optimizer promises."""

__all__ = ["PROMISES", "TRIAL_PROMISES"]
