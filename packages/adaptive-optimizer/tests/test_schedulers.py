"""Schedulers own the base values: after each step the group holds the schedule's lr, and the factor came on top."""

import math

import pytest
import torch
from adaptive_optimizer import AdaptiveOptimizer
from torch.optim import SGD, AdamW
from torch.optim import lr_scheduler as schedules


def losses(steps):
    return [2 * 0.97**i + 0.1 * math.sin(i) for i in range(steps)]


SCHEDULES = {
    "StepLR": lambda o: schedules.StepLR(o, 7, gamma=0.5),
    "CosineAnnealingLR": lambda o: schedules.CosineAnnealingLR(o, 60, eta_min=1e-3),
    "LambdaLR": lambda o: schedules.LambdaLR(o, lambda step: 1 / (1 + step)),
    "OneCycleLR": lambda o: schedules.OneCycleLR(o, max_lr=0.4, total_steps=80),
    "SequentialLR": lambda o: schedules.SequentialLR(
        o, [schedules.LinearLR(o, 0.1, total_iters=10), schedules.CosineAnnealingLR(o, 50)], [10]
    ),
    "ReduceLROnPlateau": lambda o: schedules.ReduceLROnPlateau(o, patience=2, threshold=0.1),
    "CyclicLR": lambda o: schedules.CyclicLR(o, 0.01, 0.2, step_size_up=9),
    "CosineAnnealingWarmRestarts": lambda o: schedules.CosineAnnealingWarmRestarts(o, 13),
}


def base(kind, params):
    return SGD(params, lr=0.1, momentum=0.9) if kind == "SGD" else AdamW(params, lr=0.1, betas=(0.9, 0.99))


@pytest.mark.filterwarnings("ignore:The epoch parameter")  # torch 2.6 warns of its own SequentialLR
@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_schedule_is_exact_and_the_factor_comes_on_top(name, kind):
    def run(rules):
        bare = base(kind, [torch.nn.Parameter(torch.ones(3))])
        opt = AdaptiveOptimizer(bare, **rules) if rules else bare
        used = []
        bare.register_step_pre_hook(lambda o, *_: used.append(o.param_groups[0]["lr"]))
        schedule = SCHEDULES[name](opt)
        seen = []
        for loss in losses(70):
            due = bare.param_groups[0]["lr"]
            if rules:
                opt.step_loss(loss)
            opt.step()
            group = bare.param_groups[0]
            assert group["lr"] == due
            if rules:
                assert opt.lr == used[-1] == due * opt.factors["lr"]
            schedule.step(loss) if name == "ReduceLROnPlateau" else schedule.step()
            seen.append((group["lr"], group.get("momentum"), group.get("betas"), schedule.get_last_lr()))
        return seen, used

    plain, _ = run({})
    adapted, used = run({"lr_rule": "trend+variance"})
    assert adapted == plain
    assert any(factor != lr for factor, (lr, *_) in zip(used[1:], plain, strict=False))


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_cycled_momentum_is_the_base_that_momentum_rules_move(kind):
    rules = {"momentum_rule": "relative"} if kind == "SGD" else {"betas_rule": ("relative", None), "beta_warmup": 0}
    bare, plain = (base(kind, [torch.nn.Parameter(torch.ones(3))]) for _ in range(2))
    opt = AdaptiveOptimizer(bare, **rules)
    schedule, plain_schedule = (SCHEDULES["OneCycleLR"](each) for each in (opt, plain))
    moved = False
    for loss in losses(70):
        opt.step_loss(loss)
        opt.step()
        plain.step()
        group, plain_group = bare.param_groups[0], plain.param_groups[0]
        assert (group.get("momentum"), group.get("betas")) == (plain_group.get("momentum"), plain_group.get("betas"))
        mu0 = group["momentum"] if kind == "SGD" else group["betas"][0]
        mu = opt.momentum if kind == "SGD" else opt.betas[0]
        q = opt.factors["H" if kind == "SGD" else "H_beta1"]
        assert mu == pytest.approx(min(max(1 - (1 - mu0) / q, 0.5), 0.99 if kind == "SGD" else 0.98))
        moved |= mu != mu0
        schedule.step()
        plain_schedule.step()
    assert moved


def test_a_scheduler_on_the_wrapped_optimizer_works_too():
    bare = SGD([torch.nn.Parameter(torch.ones(3))], lr=1.0)
    schedule = schedules.StepLR(bare, 1, gamma=0.5)
    opt = AdaptiveOptimizer(bare, lr_rule="trend")
    for loss in losses(5):
        opt.step_loss(loss)
        opt.step()
        schedule.step()
    assert bare.param_groups[0]["lr"] == 0.5**5


def test_schedules_fill_a_tensor_learning_rate():
    lr = torch.tensor(0.1, dtype=torch.float64)
    opt = AdaptiveOptimizer(SGD([torch.nn.Parameter(torch.ones(3))], lr=lr), lr_rule="trend")
    schedule = schedules.CosineAnnealingLR(opt, 60, eta_min=1e-3)
    plain = SGD([torch.nn.Parameter(torch.ones(3))], lr=0.1)
    plain_schedule = schedules.CosineAnnealingLR(plain, 60, eta_min=1e-3)
    for loss in losses(30):
        opt.step_loss(loss)
        opt.step()
        plain.step()
        schedule.step()
        plain_schedule.step()
        assert opt.param_groups[0]["lr"].item() == pytest.approx(plain.param_groups[0]["lr"], rel=1e-12)
