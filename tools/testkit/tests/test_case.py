"""A case makes what it says, from its settings, under its label."""

import sound
import torch
from testkit import Case, Contract, TrialCase
from testkit.problems import quadratic


def test_the_label_is_the_string():
    assert str(Case("with momentum", torch.optim.SGD, momentum=0.9)) == "with momentum"
    assert str(TrialCase("search", sound.RandomSearch)) == "search"


def test_settings_reach_the_optimizer_and_overrides_go_before_them():
    case = Case("momentum", torch.optim.SGD, lr=0.5, momentum=0.9)
    params = [torch.nn.Parameter(torch.ones(1))]
    assert case.make(params).defaults["momentum"] == 0.9
    assert case.make(params, momentum=0.1).defaults["momentum"] == 0.1


def test_settings_may_have_any_name_but_contract():
    case = Case("label", lambda params, label, make: (params, label, make), label=1, make=2)
    assert case.make([3]) == ([3], 1, 2)


def test_each_start_is_fresh_and_alike():
    case = Case("plain", torch.optim.SGD)
    first, second = case.start(), case.start()
    first.step(0)
    assert all(map(torch.equal, second.parameters, quadratic().parameters))
    assert not torch.equal(first.parameters[0], second.parameters[0])


def test_the_loss_is_fed_before_each_step():
    seen = []
    case = Case("fed", torch.optim.SGD, contract=Contract(feed=lambda optimizer, loss: seen.append(float(loss))))
    trial = case.start()
    trial.step(0)
    trial.step(1)
    assert len(seen) == 2


def test_an_optimizer_that_needs_its_closure_gets_one():
    case = Case("LBFGS", torch.optim.LBFGS, contract=Contract(closure="needed"), max_iter=5)
    trial = case.start()
    before = trial.problem.backward(0)
    trial.step(0)
    assert trial.problem.backward(0) < before


def test_a_trial_case_passes_its_settings_on():
    assert TrialCase("wide", sound.RandomSearch, width=2.0).start().width == 2.0
