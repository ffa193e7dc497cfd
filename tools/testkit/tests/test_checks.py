"""Sound optimizers pass every check; each check fails on at least one optimizer broken on purpose."""

import re

import broken
import pytest
import sound
import torch
from testkit import CHECKS, TRIAL_CHECKS, Case, Contract, TrialCase

RATE = Contract(intervals={"lr": "[0, inf)"})
COMPLEX = Contract(complex="supported")
MOMENTUM = Contract(sparse="supported", fast=({"foreach": True},))  # torch 2.6's fused one fails that check
DRIVEN = Contract(
    feed=lambda optimizer, loss: optimizer.feed(loss),
    host_reads=1,
    sparse="supported",
    intervals={"slope": "[0, inf)"},
    shows=("slope",),
    fast=({"slope": 1.0},),
)
SOUND = [
    Case("AdamW", torch.optim.AdamW),
    Case("AdamW, complex", torch.optim.AdamW, lr=0.01, contract=COMPLEX),
    Case("AdamW, lists", torch.optim.AdamW, foreach=True, contract=Contract(tensor_lr=False)),
    Case("SGD", torch.optim.SGD, lr=0.05, momentum=0.9, contract=MOMENTUM),
    Case("RAdam", torch.optim.RAdam),
    Case("a lambda", lambda params, **settings: torch.optim.Adam(params, eps=1e-6, **settings), lr=0.02),
    Case("checked", sound.Checked, contract=Contract(intervals=sound.INTERVALS, integers=("every",))),
    Case(
        "noise from the global stream", sound.NoisyFromTheGlobalStream, contract=Contract(draws_from_global_stream=True)
    ),
    Case("wrapper", sound.driven, contract=DRIVEN),
]

BROKEN = {
    "a_checkpoint_continues_to_the_bit": [
        Case("a count outside the state", broken.CountsOutsideItsState),
        Case("a state that only pickle reads", broken.SavesWhatOnlyPickleReads),
        Case("a scalar that loading rounds", torch.optim.NAdam),
    ],
    "the_global_stream_is_left_alone": [
        Case("torch's", broken.DrawsFromTheGlobalStream),
        Case("Python's", broken.DrawsFromPython),
    ],
    "the_same_seed_gives_the_same_run": [Case("noise from nowhere", broken.DrawsFromNowhere)],
    "a_deep_copy_runs_on_alike": [Case("no copy", broken.CopiesToItself)],
    "no_gradient_no_change": [Case("decay", broken.DecaysTheIdle)],
    "gradients_are_left_as_they_were": [
        Case("clipped", broken.ClipsInPlace),
        Case("dropped", broken.DropsGradients),
    ],
    "the_closure_is_called_once": [
        Case("twice", broken.CallsTheClosureTwice),
        Case("without grad", broken.CallsTheClosureWithoutGrad),
        Case("loss kept", broken.KeepsTheLoss),
        Case("after the step", broken.StepsBeforeTheClosure),
        Case("though refused", torch.optim.AdamW, contract=Contract(closure="refused")),
    ],
    "group_overrides_are_used": [
        Case("defaults", broken.UsesItsDefaults),
        Case("read once", broken.ReadsTheGroupsOnce),
        Case("an override that does nothing", torch.optim.AdamW, contract=Contract(overrides={"amsgrad": False})),
    ],
    "a_group_can_be_added_mid_run": [
        Case("newcomers forgotten", broken.ForgetsNewcomers),
        Case("state lost", broken.StartsOverForNewcomers),
    ],
    "dtype_device_and_strides_survive": [
        Case("made contiguous", broken.MakesContiguous),
        Case("memory order", broken.WritesInMemoryOrder),
    ],
    "scalars_and_empty_parameters_are_fine": [Case("maximum of nothing", broken.MeasuresTheLargest)],
    "sparse_gradients_are_refused_by_name": [
        Case("made dense", broken.MakesDense),
        Case("too late", broken.RefusesAsItGoes),
        Case("without a name", broken.RefusesWithoutAName),
        Case("though documented", torch.optim.AdamW, contract=Contract(sparse="supported")),
    ],
    "complex_equals_its_real_view": [
        Case("real part", broken.DropsTheImaginary),
        Case("though refused", torch.optim.AdamW, contract=Contract(complex="refused")),
    ],
    "schedulers_are_obeyed": [
        Case("restored", broken.RestoresItsRate),
        Case("defaults", broken.UsesItsDefaults),
    ],
    "a_tensor_learning_rate_is_obeyed": [
        Case("turned to floats", broken.TurnsTensorsToFloats),
        Case("cached", broken.CachesTheTensor),
        Case("refused", torch.optim.AdamW, foreach=True),
        Case("though refused", torch.optim.AdamW, contract=Contract(tensor_lr=False)),
    ],
    "a_failed_step_leaves_the_settings": [
        Case("rate left behind", broken.LeavesTheRateBehind),
        Case("swallowed", broken.SwallowsErrors),
    ],
    "a_pickle_runs_on_alike": [
        Case("a lambda", broken.HoldsALambda),
        Case("a count lost", broken.LosesItsCountInPickles),
    ],
    "documented_intervals_are_enforced": [
        Case("infinity", torch.optim.AdamW, contract=RATE),
        Case("defaults only", broken.ChecksDefaultsOnly, contract=RATE),
        Case("an end left out", broken.RefusesZero, contract=RATE),
        Case("too late", broken.AddsThenChecks, contract=RATE),
        Case("without the name", broken.RefusesWithoutTheName, contract=RATE),
        Case("an end let in", sound.Checked, contract=Contract(intervals={"power": "(0, 1)"})),
        Case("fractions refused", sound.Checked, contract=Contract(intervals={"every": "[1, inf)"})),
        Case("betas", torch.optim.AdamW, contract=Contract(intervals={"betas[1]": "(0, 1)"})),
    ],
    "fast_equals_reference": [Case("decayed twice", broken.DecaysOnTheFastPath, lr=0.01)],
    "host_reads_are_bounded": [
        Case("norms", broken.PeeksAtTheNorm),
        Case("a list", broken.BranchesOnATensor),
    ],
    "repr_shows_every_setting": [
        Case("name only", broken.SaysItsName),
        Case("defaults", broken.ShowsItsDefaults),
    ],
    "an_overflow_step_changes_nothing": [Case("trust", broken.TrustsTheScaler)],
    "two_replicas_stay_equal": [
        Case("noise per rank", broken.DrawsItsOwnPerRank),
        Case("an error", broken.FailsOnOneRank),
    ],
}
BY_NAME = {check.__name__: check for check in CHECKS}


@pytest.mark.parametrize("case", SOUND, ids=str)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_sound_optimizer_keeps_it(check, case):
    check(case)


@pytest.mark.parametrize("check", TRIAL_CHECKS, ids=lambda check: check.__name__)
def test_a_sound_trial_keeps_it(check):
    check(TrialCase("random search", sound.RandomSearch, width=0.3))


@pytest.mark.parametrize(
    ("name", "case"), [pytest.param(name, case, id=f"{name}-{case}") for name in BROKEN for case in BROKEN[name]]
)
def test_an_optimizer_broken_on_purpose_is_found_out(name, case):
    with pytest.raises(AssertionError) as caught:
        BY_NAME[name](case)
    message = str(caught.value)
    assert message.startswith(f"failed check: {name.replace('_', ' ')}\n  case:     {case}\n")
    assert re.search(r"\n  expected: .+\n  but:      .+", message)


def test_every_check_has_its_saboteurs():
    assert BROKEN.keys() == BY_NAME.keys()


def test_checks_have_distinct_names_and_docstrings():
    assert len(BY_NAME) == len(CHECKS)
    assert set(TRIAL_CHECKS) <= set(CHECKS)
    assert all(check.__doc__ for check in CHECKS)
