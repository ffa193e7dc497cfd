"""Engines are held against the loop: before they are used, while they run, and by the effect of perturbations."""

import copy
import time
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional
from torcheggroll import TorchEggrollES
from torcheggroll._evaluate import fold, rules
from torcheggroll._ops.linear import linear


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))


def data():
    torch.manual_seed(1)
    return torch.randn(32, 8), torch.randn(32, 4)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def member_0_for_all(x, shared, *rest, **options):
    out = linear(x, shared, *rest, **options)
    return out[:1].expand_as(out)


def unperturbed(x, shared, weight, bias, left, right, shift, base=None):
    members = len(left if left is not None else shift)
    y = functional.linear(x, weight, bias)
    return y.unsqueeze(0).expand(members, *y.shape) if shared else y


def half_a_perturbation(x, shared, weight, bias, left, *rest, **options):
    return linear(x, shared, weight, bias, None if left is None else left / 2, *rest, **options)


def leaking(x, shared, *rest, **options):
    out = linear(x, shared, *rest, **options)
    return torch.cat([out[2:4], out[2:]]) if len(out) > 3 else out


WRONG = [member_0_for_all, unperturbed, half_a_perturbation, leaking]


def break_on_purpose(monkeypatch, op):
    """Lets every engine but the loop compute linear layers wrongly."""
    for module in (rules, fold):
        monkeypatch.setattr(module, "linear", op)


@pytest.mark.parametrize("sigma", [0.02, 2e-4])
@pytest.mark.parametrize("op", WRONG)
def test_a_wrong_engine_is_never_accepted(monkeypatch, op, sigma):
    x, y = data()
    es, same = (TorchEggrollES(net(), pop_size=8, sigma=sigma, rank=1, seed=0, engine=e) for e in ("auto", "loop"))
    break_on_purpose(monkeypatch, op)
    with pytest.warns(UserWarning, match="since fold and the loop disagree, from linear on"):
        es.step(x, functional.mse_loss, y)
    same.step(x, functional.mse_loss, y)
    assert es.diagnostics.engine == "loop"
    assert torch.equal(weights(es.model), weights(same.model))


@pytest.mark.parametrize("sigma", [0.02, 2e-4])
@pytest.mark.parametrize("op", WRONG)
def test_an_engine_that_goes_wrong_while_running_is_caught_and_nothing_of_it_applied(monkeypatch, op, sigma):
    x, y = data()
    es = TorchEggrollES(net(), pop_size=8, sigma=sigma, rank=1, seed=0, audit_every=5)
    for _ in range(3):
        es.step(x, functional.mse_loss, y)
    assert es.diagnostics.engine == "fold"
    break_on_purpose(monkeypatch, op)
    steps = 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        while es.diagnostics.engine == "fold":
            before = es.state_dict()
            es.step(x, functional.mse_loss, y)
            steps += 1
    assert steps <= 5
    told = [str(w.message) for w in caught if "since" in str(w.message)]
    assert len(told) == 1
    assert "from linear on" in told[0]
    same = TorchEggrollES(net(), pop_size=8, sigma=sigma, rank=1, seed=0, engine="loop")
    same.load_state_dict(before)
    same.step(x, functional.mse_loss, y)
    assert torch.equal(weights(es.model), weights(same.model))


def test_without_an_audit_it_is_not_caught(monkeypatch):
    x, y = data()
    es = TorchEggrollES(net(), pop_size=8, sigma=0.02, rank=1, seed=0, audit_every=0)
    es.step(x, functional.mse_loss, y)
    break_on_purpose(monkeypatch, half_a_perturbation)
    for _ in range(20):
        es.step(x, functional.mse_loss, y)
    assert es.diagnostics.engine == "fold"


@pytest.mark.parametrize("op", WRONG)
def test_an_engine_of_the_users_choice_is_refused_by_name(monkeypatch, op):
    x, y = data()
    es = TorchEggrollES(net(), pop_size=8, sigma=1e-3, rank=1, seed=0, engine="fold")
    break_on_purpose(monkeypatch, op)
    before = weights(es.model)
    with pytest.raises(RuntimeError, match=r"engine='fold' can not evaluate this model: .*linear.*use engine='auto'"):
        es.step(x, functional.mse_loss, y)
    assert torch.equal(before, weights(es.model))


def test_an_audit_costs_as_many_forwards_as_the_page_says(monkeypatch):
    """The centre, two pairs, the pairs again where effects at sigma do not stand out, and the engine."""
    x, y = data()
    calls = []
    model = net()
    model.register_forward_pre_hook(lambda *_: calls.append(0))
    es = TorchEggrollES(model, pop_size=64, sigma=0.02, rank=1, seed=0, audit_every=10, chunk_size=64)
    es.step(x, functional.mse_loss, y)
    per_step = []
    for _ in range(10):
        calls.clear()
        es.step(x, functional.mse_loss, y)
        per_step.append(len(calls))
    assert sorted(per_step)[:9] == [1] * 9
    assert 1 < max(per_step) <= 12


def test_a_branch_that_members_leave_in_the_middle_of_a_run_falls_back_and_goes_on():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.threshold = nn.Linear(8, 4), 1e9

        def forward(self, x):
            y = self.layer(x)
            return y if y.sum() < self.threshold else 2 * y

    x, y = data()
    es = TorchEggrollES(Branching(), pop_size=8, sigma=0.1, seed=0)
    es.step(x, functional.mse_loss, y)
    assert es.diagnostics.engine == "fold"
    with torch.no_grad():
        es.model.threshold = float(es.model(x).sum())
    twin = copy.deepcopy(es)
    twin.evaluator.engine = "loop"
    twin.evaluator._settled = {}
    with pytest.warns(
        UserWarning, match="fold met FoldError: __bool__ gives something else for every member"
    ) as caught:
        es.step(x, functional.mse_loss, y)
    assert len(caught) == 1
    twin.step(x, functional.mse_loss, y)
    assert torch.equal(weights(es.model), weights(twin.model))


def test_parameters_that_do_nothing_are_named():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(8, 4), nn.Linear(8, 4)

        def forward(self, x):
            return self.used(x)

    x, y = data()
    es = TorchEggrollES(Idle(), pop_size=8, seed=0, param_filter=lambda p, name: name.startswith("idle"))
    with pytest.warns(UserWarning, match=r"selected parameters \(idle.weight, idle.bias\) must change the result"):
        es.step(x, functional.mse_loss, y)


def test_an_error_of_the_users_does_not_change_the_engine():
    x, y = data()
    es = TorchEggrollES(net(), pop_size=8, seed=0)
    es.step(x, functional.mse_loss, y)

    def broken(outputs, targets):
        raise ZeroDivisionError("a bug of the user's")

    with pytest.raises(ZeroDivisionError, match="a bug of the user's"):
        es.step(x, broken, y)
    es.step(x, functional.mse_loss, y)
    assert es.diagnostics.engine == "fold"


@pytest.mark.slow
def test_an_audit_takes_less_than_a_hundredth_of_a_run():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    x, y = torch.randn(128, 784), torch.randint(0, 10, (128,))
    es = TorchEggrollES(model, pop_size=256, sigma=0.02, seed=0, audit_every=10)
    es.step(x, functional.cross_entropy, y)
    taken = []
    for _ in range(30):
        begun = time.process_time()
        es.step(x, functional.cross_entropy, y)
        taken.append(time.process_time() - begun)
    audited = sorted(taken)[-3:]
    plain = sorted(taken)[len(taken) // 2]
    assert (sum(audited) / 3 - plain) / 100 < 0.01 * plain


class Cache:
    """A cache as language models return it beside their outputs."""

    def __init__(self, keys):
        self.keys = keys


class Caching(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, x):
        y = self.layer(x)
        return {"y": y, "cache": Cache(y * 2)}


def test_a_loss_that_reads_an_object_of_the_model_is_not_given_all_members_at_once():
    x, y = data()
    same, read = (TorchEggrollES(Caching(), pop_size=8, sigma=0.01, seed=0) for _ in "ab")
    with torch.no_grad():
        read.model.layer.load_state_dict(same.model.layer.state_dict())
    same.step(x, lambda out, t: functional.mse_loss(2 * out["y"], t), y)
    assert same.diagnostics.engine == "fold"
    with pytest.warns(UserWarning, match="the loss reads 'keys' of a Cache"):
        read.step(x, lambda out, t: functional.mse_loss(out["cache"].keys, t), y)
    assert read.diagnostics.engine == "vmap"
    assert torch.allclose(weights(same.model), weights(read.model), atol=1e-6)


class Averaging(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 4)
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x):
        y = self.layer(x)
        self.mean = 0.9 * self.mean + 0.1 * y.mean(0)
        return y - self.mean


def test_the_state_of_a_module_stays_or_is_that_of_the_centre():
    x, y = data()
    torch.manual_seed(0)
    model = Averaging()
    kept = copy.deepcopy(model)
    for own, state in ((model, "restore"), (kept, "centre")):
        es = TorchEggrollES(own, pop_size=8, sigma=0.01, seed=0, module_state=state)
        es.step(x, functional.mse_loss, y)
    assert torch.equal(model.mean, torch.zeros(4))
    assert torch.allclose(kept.mean, 0.1 * kept.layer(x).mean(0))
    assert kept.training
    es.step(lambda m: -float(m(x).square().mean()))
    assert float(kept.mean.detach().norm()) > 0
    with pytest.raises(ValueError, match="share the data"):
        es.step(x.expand(8, *x.shape), functional.mse_loss, y, per_member="inputs")
