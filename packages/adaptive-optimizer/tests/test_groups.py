"""Which optimizer keeps what where, shown on the optimizers themselves: fifty steps each, and the knobs really move."""

import math
import warnings

import pytest
import torch
from adaptive_optimizer import AdaptiveOptimizer
from torch import nn

EVERYTHING = {
    "lr_rule": "trend+variance",
    "momentum_rule": "relative",
    "betas_rule": ("relative", "variance"),
    "alpha_rule": "stable",
    "wd_rule": "trend",
    "beta_warmup": 5,
    "strict": False,
}


def adapted_steps(make, steps=50, **rules):
    """Fifty steps of a least-squares problem whose matrix is large enough for 8-bit state; returns what was used."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(64, 128) / 8)
    x = torch.randn(128, 32)
    target = torch.randn(64, 32)
    base = make([weight])
    used = []
    base.register_step_pre_hook(lambda o, *_: used.append(snapshot(o.param_groups[0])))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the rule for")
        opt = AdaptiveOptimizer(base, **{**EVERYTHING, **rules})
    before = snapshot(base.param_groups[0])
    start = weight.detach().clone()
    for step in range(steps):
        loss = ((weight @ x - target) ** 2).mean()
        opt.zero_grad()
        loss.backward()
        opt.step_loss(loss * (1 + 0.1 * math.sin(step)))
        opt.step()
        assert snapshot(base.param_groups[0]) == before
    assert torch.isfinite(weight).all()
    assert not torch.equal(weight, start)
    return opt, used


def snapshot(group):
    values = {key: value for key, value in group.items() if key != "params"}
    return {key: value.item() if isinstance(value, torch.Tensor) else value for key, value in values.items()}


def moved(used):
    """The keys whose values changed during the steps."""
    return {key for key in used[0] if len({repr(each[key]) for each in used}) > 1}


TORCH = {
    "AdamW": (lambda p: torch.optim.AdamW(p, lr=1e-3), {"lr", "betas", "weight_decay"}),
    "SGD": (
        lambda p: torch.optim.SGD(p, lr=1e-2, momentum=0.9, weight_decay=1e-4),
        {"lr", "momentum", "weight_decay"},
    ),
    "RMSprop": (
        lambda p: torch.optim.RMSprop(p, lr=1e-4, momentum=0.5, weight_decay=1e-4),
        {"lr", "momentum", "alpha", "weight_decay"},
    ),
    "Adagrad": (lambda p: torch.optim.Adagrad(p, lr=1e-2, weight_decay=1e-4), {"lr", "weight_decay"}),
    "NAdam": (lambda p: torch.optim.NAdam(p, lr=1e-3, weight_decay=1e-4), {"lr", "betas", "weight_decay"}),
    "RAdam": (lambda p: torch.optim.RAdam(p, lr=1e-3), {"lr", "betas"}),
    "Adamax": (lambda p: torch.optim.Adamax(p, lr=1e-3), {"lr", "betas"}),
    "ASGD": (lambda p: torch.optim.ASGD(p, lr=1e-3), {"lr"}),
    "Rprop": (lambda p: torch.optim.Rprop(p, lr=1e-3), {"lr"}),
}


@pytest.mark.parametrize("name", TORCH)
def test_of_torch(name):
    make, knobs = TORCH[name]
    opt, used = adapted_steps(make)
    assert moved(used) == knobs
    assert (opt.momentum is None) == ("momentum" not in knobs)
    assert (opt.betas is None) == ("betas" not in knobs)
    assert (opt.alpha is None) == ("alpha" not in knobs)


@pytest.mark.skipif(not hasattr(torch.optim, "Adafactor"), reason="needs torch 2.5 or later")
def test_adafactor_of_torch():
    _, used = adapted_steps(lambda p: torch.optim.Adafactor(p, lr=1e-2, weight_decay=1e-3))
    assert moved(used) == {"lr", "weight_decay"}


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="needs torch 2.9 or later")
def test_muon_averages_so_its_rate_is_not_compensated():
    opt, used = adapted_steps(lambda p: torch.optim.Muon(p, lr=1e-3), lr_rule=None)
    assert moved(used) == {"momentum", "weight_decay"}
    assert opt.lrs == [1e-3]


def test_the_power_of_asgd_is_no_smoothing_constant():
    with pytest.raises(ValueError, match=r"alpha_rule must be None because ASGD has no alpha.*has: lr, weight decay"):
        AdaptiveOptimizer(torch.optim.ASGD([nn.Parameter(torch.zeros(1))]), alpha_rule="stable")


@pytest.mark.parametrize(
    ("make", "rules", "lacks"),
    [
        (torch.optim.AdamW, {"momentum_rule": "relative"}, "AdamW has no momentum"),
        (torch.optim.AdamW, {"alpha_rule": "stable"}, "AdamW has no alpha"),
        (torch.optim.SGD, {"betas_rule": ("relative", None)}, "SGD has no betas"),
        (torch.optim.LBFGS, {"wd_rule": "trend"}, "LBFGS has no weight decay"),
    ],
)
def test_a_rule_for_a_knob_that_is_not_there_is_refused_unless_told_otherwise(make, rules, lacks):
    with pytest.raises(ValueError, match=lacks):
        AdaptiveOptimizer(make([nn.Parameter(torch.zeros(1))]), **rules)
    opt = AdaptiveOptimizer(make([nn.Parameter(torch.zeros(1))]), **rules, strict=False)
    assert opt.state_dict().keys() == {"state", "param_groups"}


def test_momentum_that_is_off_stays_off_with_one_warning():
    with pytest.warns(UserWarning, match="the rule for momentum has no effect now") as caught:
        opt = AdaptiveOptimizer(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0), momentum_rule="relative")
    assert len(caught) == 1
    for loss in (3.0, 2.0, 1.0):
        opt.step_loss(loss)
        assert opt.param_groups[0]["momentum"] == 0
        assert opt.lr == 1.0
        opt.step()


def test_weight_decay_that_is_off_stays_off():
    opt = AdaptiveOptimizer(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0), wd_rule="trend")
    for loss in (3.0, 2.0, 1.0):
        opt.step_loss(loss)
        assert opt.wd == 0
        opt.step()


def test_betas_that_are_tensors_are_refused():
    betas = (torch.tensor(0.9), torch.tensor(0.99))
    base = torch.optim.AdamW([nn.Parameter(torch.zeros(1))])
    base.param_groups[0]["betas"] = betas
    with pytest.raises(TypeError, match="betas must be made of numbers"):
        AdaptiveOptimizer(base, betas_rule=("relative", None))


def test_a_steady_heavy_ball_keeps_its_step_while_momentum_moves():
    def step_sizes(compensate):
        weight = nn.Parameter(torch.zeros((), dtype=torch.float64))
        base = torch.optim.SGD([weight], lr=1.0, momentum=0.9)
        opt = AdaptiveOptimizer(base, momentum_rule="relative", compensate_lr=compensate)
        sizes = []
        for step in range(1500):
            weight.grad = torch.ones_like(weight)
            before = weight.item()
            opt.step_loss(0.99 ** min(step, 150) if step > 100 else 1.0)
            opt.step()
            sizes.append(before - weight.item())
        assert opt.momentum > 0.95
        return sizes

    assert step_sizes(compensate=True)[-1] == pytest.approx(10.0, rel=0.01)
    assert step_sizes(compensate=False)[-1] > 20


BITSANDBYTES = {
    "AdamW8bit": ({}, {"lr", "betas", "weight_decay"}, ("betas",)),
    "Adam8bit": ({"weight_decay": 1e-3}, {"lr", "betas", "weight_decay"}, ("betas",)),
    "SGD8bit": ({"momentum": 0.9, "lr": 1e-2, "weight_decay": 1e-4}, {"lr", "betas", "weight_decay"}, ("momentum",)),
    "RMSprop8bit": ({"lr": 1e-3, "weight_decay": 1e-4}, {"lr", "betas", "weight_decay"}, ("alpha",)),
    "Lion8bit": ({"weight_decay": 1e-3}, {"lr", "betas", "weight_decay"}, ("betas",)),
    "LARS8bit": ({"momentum": 0.9, "lr": 1e-2, "weight_decay": 1e-4}, {"lr", "betas", "weight_decay"}, ("momentum",)),
    "Adagrad8bit": ({"weight_decay": 1e-4}, {"lr", "weight_decay"}, ()),
    "AdEMAMix8bit": ({}, {"lr", "betas", "weight_decay"}, ("betas",)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BITSANDBYTES)
def test_of_bitsandbytes(name):
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="needs bitsandbytes")
    settings, knobs, averages = BITSANDBYTES[name]
    opt, used = adapted_steps(lambda p: getattr(bitsandbytes.optim, name)(p, **{"lr": 1e-3, **settings}))
    assert moved(used) == knobs
    assert {each for each in ("momentum", "betas", "alpha") if getattr(opt, each) is not None} == set(averages)
    states = [v for v in next(iter(opt.state.values())).values() if isinstance(v, torch.Tensor)]
    assert any(v.dtype == torch.uint8 for v in states)
    assert len({len(each["betas"]) for each in used}) == 1
    if "betas" not in averages and "betas" in knobs:
        assert len({each["betas"][1] for each in used}) == 1
    if name == "AdEMAMix8bit":
        assert len({each["betas"][2] for each in used}) == len({each.get("alpha") for each in used}) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_of_torchao_whose_rate_is_a_tensor():
    torchao = pytest.importorskip("torchao.optim", reason="needs torchao")
    rates = []

    def make(params):
        base = torchao.AdamW8bit(params, lr=1e-3, weight_decay=1e-2)
        rates.append(base.param_groups[0]["lr"])
        return base

    opt, used = adapted_steps(make, betas_rule=None, wd_rule=None)
    assert moved(used) == {"lr"}
    assert opt.param_groups[0]["lr"] is rates[0]
    _, used = adapted_steps(make, steps=3, beta_warmup=0)  # each new value compiles once more
    assert moved(used) == {"lr", "betas", "weight_decay"}


def test_a_compiled_step_is_compiled_again_for_new_betas_and_that_is_said():
    class AdamW8bit(torch.optim.AdamW):
        __module__ = "torchao.optim.adam"

    params = [nn.Parameter(torch.zeros(1))]
    AdaptiveOptimizer(AdamW8bit(params), lr_rule="trend")
    with pytest.warns(UserWarning, match="AdamW8bit compiles its step again for each new value of beta1, wd"):
        AdaptiveOptimizer(AdamW8bit(params), betas_rule=("relative", None), wd_rule="trend")


@pytest.mark.slow
def test_adafactor_of_transformers():
    optimization = pytest.importorskip("transformers.optimization", reason="needs transformers")
    settings = {"lr": 1e-3, "scale_parameter": False, "relative_step": False, "weight_decay": 1e-3}
    opt, used = adapted_steps(lambda p: optimization.Adafactor(p, beta1=0.9, **settings))
    assert moved(used) == {"lr", "beta1", "weight_decay"}
    assert opt.momentum == used[-1]["beta1"]
    _, used = adapted_steps(lambda p: optimization.Adafactor(p, **settings))
    assert moved(used) == {"lr", "weight_decay"}


@pytest.mark.slow
def test_an_adafactor_that_paces_itself_ignores_its_rate_with_one_warning():
    optimization = pytest.importorskip("transformers.optimization", reason="needs transformers")
    base = optimization.Adafactor([nn.Parameter(torch.randn(4, 4))], lr=None, relative_step=True)
    with pytest.warns(UserWarning, match="the rule for lr has no effect now"):
        opt = AdaptiveOptimizer(base, lr_rule="trend")
    opt.step_loss(1.0)
    opt.step()
    assert opt.lr is None


def mixture(first):
    """Groups of an optimizer that runs Muon on one and AdamW on the other."""
    adam = {"params": [nn.Parameter(torch.ones(2))], "lr": 1e-3, "betas": (0.9, 0.95), "weight_decay": 0.1}
    muon = {"params": [nn.Parameter(torch.ones(2, 2))], "lr": 0.02, "momentum": 0.95}
    base = torch.optim.Optimizer([adam, muon] if first == "adam" else [muon, adam], {})
    base.used = []
    base.step = lambda closure=None: base.used.append([snapshot(group) for group in base.param_groups])
    return base


@pytest.mark.parametrize("first", ["adam", "muon"])
def test_each_of_groups_with_different_keys_follows_the_rules_that_it_can(first):
    rules = {**EVERYTHING, "lr_rule": "trend", "alpha_rule": None, "beta_warmup": 0, "strict": True}
    base = mixture(first)
    opt = AdaptiveOptimizer(base, **rules)
    before = [snapshot(group) for group in base.param_groups]
    for loss in (4.0, 3.0, 2.0):
        opt.step_loss(loss)
        opt.step()
    assert [snapshot(group) for group in base.param_groups] == before
    for held, used in zip(before, base.used[-1], strict=True):
        assert held.keys() == used.keys()
        assert all(used[key] != held[key] for key in held)
        assert used["lr"] == held["lr"] * opt.factors["lr"]
    adam, muon = (0, 1) if first == "adam" else (1, 0)
    assert opt.all_betas[adam] == base.used[-1][adam]["betas"]
    assert opt.momentums[muon] == base.used[-1][muon]["momentum"]
    assert (opt.all_betas[muon], opt.momentums[adam], opt.wds[muon]) == (None, None, None)


@pytest.mark.parametrize("first", ["adam", "muon"])
def test_a_rule_that_no_group_can_follow_lists_what_each_has(first):
    adam, muon = ("0", "1") if first == "adam" else ("1", "0")
    with pytest.raises(ValueError, match="alpha_rule must be None because Optimizer has no alpha") as caught:
        AdaptiveOptimizer(mixture(first), alpha_rule="stable")
    assert f"group {adam} has: betas, lr, weight decay" in str(caught.value)
    assert f"group {muon} has: lr, momentum" in str(caught.value)


@pytest.mark.parametrize("kind", [float, torch.tensor], ids=["number", "tensor"])
def test_min_lr_leaves_groups_without_a_rate_at_rest(kind):
    still, moving = (nn.Parameter(torch.ones(2)) for _ in range(2))
    groups = [{"params": [still], "lr": kind(0.0)}, {"params": [moving], "lr": kind(1e-4)}]
    opt = AdaptiveOptimizer(torch.optim.SGD(groups, lr=1.0), lr_rule="trend", min_lr=0.5)
    for p in (still, moving):
        p.grad = torch.ones_like(p)
    opt.step_loss(1.0)
    opt.step()
    assert torch.equal(still, torch.ones(2))
    assert moving.tolist() == [0.5, 0.5]


def test_groups_that_are_replaced_between_loss_and_step_keep_their_base_values():
    opt = AdaptiveOptimizer(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0), lr_rule="trend")
    for _ in range(3):
        opt.step_loss(1.0)
        opt.param_groups = [dict(group) for group in opt.param_groups]
        opt.step()
    assert opt.base_lrs == [1.0]
    assert opt.lr == pytest.approx(0.999**3)
