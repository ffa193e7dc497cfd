"""The checks: each takes a case and raises ``AssertionError`` if the case fails it."""

from testkit.checks.checkpoints import a_checkpoint_continues_to_the_bit
from testkit.checks.closures import the_closure_is_called_once
from testkit.checks.equal_replicas import two_replicas_stay_equal
from testkit.checks.failures import a_failed_step_leaves_the_settings
from testkit.checks.gradients import gradients_are_left_as_they_were, no_gradient_no_change
from testkit.checks.groups import a_group_can_be_added_mid_run, group_overrides_are_used
from testkit.checks.kinds import complex_equals_its_real_view, sparse_gradients_are_refused_by_name
from testkit.checks.layouts import dtype_device_and_strides_survive, scalars_and_empty_parameters_are_fine
from testkit.checks.learning_rates import a_tensor_learning_rate_is_obeyed, schedulers_are_obeyed
from testkit.checks.paths import fast_equals_reference
from testkit.checks.randomness import the_global_stream_is_left_alone, the_same_seed_gives_the_same_run
from testkit.checks.scaling import an_overflow_step_changes_nothing
from testkit.checks.settings import documented_intervals_are_enforced, repr_shows_every_setting
from testkit.checks.twins import a_deep_copy_runs_on_alike, a_pickle_runs_on_alike
from testkit.checks.waiting import host_reads_are_bounded

TRIAL_CHECKS = [
    a_checkpoint_continues_to_the_bit,
    the_global_stream_is_left_alone,
    the_same_seed_gives_the_same_run,
    a_deep_copy_runs_on_alike,
]
"""Checks for anything that trains, optimizer or not."""

CHECKS = [
    *TRIAL_CHECKS,
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
"""Checks for optimizers."""

__all__ = ["CHECKS", "TRIAL_CHECKS"]
