"""Whatever comes in, every knob stays inside its clamp; and the unit of losses and rewards is nothing."""

import math
import random

import pytest
import torch
from adaptive_optimizer import AdaptiveOptimizer
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import SGD, AdamW, RMSprop

ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([1e308, -1e308, 5e-324, 0.0, math.nan])
LR = "trend+variance+cosine+cosine_restart"
REWARD = "trend+scaling+variance"


def values_used(base):
    """The newest values that group 0 held inside a step; filled as steps are made."""
    used = {}
    base.register_step_pre_hook(lambda o, *_: used.update(o.param_groups[0]))
    return used


def parameter():
    return torch.nn.Parameter(torch.zeros(2))


@pytest.mark.filterwarnings("ignore:momentum_rule='inverse'")
@settings(max_examples=60, deadline=None)
@given(
    signals=st.lists(st.tuples(ANY_FLOAT, ANY_FLOAT), max_size=40),
    momentum_rule=st.sampled_from(["relative", "inverse", "normalized"]),
    momentum=st.sampled_from([0.1, 0.5, 0.9, 0.995]),
    repeat=st.sampled_from([1, 5]),
    guard=st.booleans(),
)
def test_every_knob_of_sgd_stays_inside(signals, momentum_rule, momentum, repeat, guard):
    base = SGD([parameter()], lr=0.3, momentum=momentum, weight_decay=0.01)
    opt = AdaptiveOptimizer(
        base, lr_rule=LR, momentum_rule=momentum_rule, wd_rule="trend", reward_rule=REWARD, cycle_length=5,
        guard=guard,
    )  # fmt: skip
    group = values_used(base)
    for loss, reward in signals * repeat:
        before = opt.momentum
        opt.step_loss(loss)
        opt.step_reward(reward)
        opt.step()
        assert 0.1 <= opt.factors["lr"] <= 10
        assert min(momentum, 0.5) <= group["momentum"] <= max(momentum, 0.99)
        assert 0.97 <= (1 - before) / (1 - group["momentum"]) <= 1.03
        assert 0.001 * (1 - 1e-12) <= group["weight_decay"] <= 0.1 * (1 + 1e-12)
        steady = group["lr"] / (1 - group["momentum"])
        assert 0.03 / (1 - momentum) * (1 - 1e-9) <= steady <= 3.0 / (1 - momentum) * (1 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(
    signals=st.lists(st.tuples(ANY_FLOAT, ANY_FLOAT), max_size=40),
    betas=st.sampled_from([(0.9, 0.999), (0.3, 0.5), (0.99, 0.99999)]),
)
def test_every_knob_of_adamw_stays_inside(signals, betas):
    opt = AdaptiveOptimizer(
        AdamW([parameter()], lr=0.3, betas=betas),
        lr_rule=LR,
        betas_rule=("relative", "variance"),
        reward_rule=REWARD,
        beta_warmup=0,
    )
    group = values_used(opt.optimizer)
    for loss, reward in signals * 3:
        opt.step_loss(loss)
        opt.step_reward(reward)
        opt.step()
        assert 0.03 * (1 - 1e-12) <= group["lr"] <= 3.0 * (1 + 1e-12)
        assert min(betas[0], 0.5) <= group["betas"][0] <= max(betas[0], 0.98)
        assert betas[1] <= group["betas"][1] <= max(betas[1], 0.9999)


@settings(max_examples=40, deadline=None)
@given(losses=st.lists(ANY_FLOAT, max_size=60), alpha=st.sampled_from([0.9, 0.99, 0.99995]))
def test_alpha_stays_inside(losses, alpha):
    opt = AdaptiveOptimizer(RMSprop([parameter()], lr=0.3, alpha=alpha), alpha_rule="stable")
    for loss in losses:
        opt.step_loss(loss)
        assert alpha <= opt.alpha <= max(alpha, 0.9999)
        opt.step()


@settings(max_examples=30, deadline=None)
@given(losses=st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=60))
def test_bounds_on_the_rate_itself_hold(losses):
    opt = AdaptiveOptimizer(SGD([parameter()], lr=0.3), lr_rule="trend", min_lr=0.29, max_lr=0.31)
    group = values_used(opt.optimizer)
    for loss in losses:
        opt.step_loss(loss)
        opt.step()
        assert 0.29 <= group["lr"] <= 0.31


@pytest.mark.parametrize("largest", [1e308, 1.7976931348623157e308])
def test_losses_at_the_end_of_float64_leave_the_controller_alive(largest):
    opt = AdaptiveOptimizer(SGD([parameter()], lr=1.0), lr_rule="trend+variance", reward_rule=REWARD)
    for signal in [largest, -largest, largest, -largest, -largest]:
        opt.step_loss(signal)
        opt.step_reward(-signal)
        opt.step()
    state = opt.state_dict()["adaptive"]["controller"]
    assert all(map(math.isfinite, [*state["losses"].values(), *state["rewards"].values()]))
    before = opt.factors["M"]
    for step in range(10):
        opt.step_loss(-1e300 if step else 1e300)
        opt.step()
    assert opt.factors["M"] > before


@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1e3, 1e6])
@pytest.mark.parametrize("reward_rule", [None, "scaling", "trend", "variance"])
@pytest.mark.parametrize("lr_rule", ["trend", "variance", "trend+variance+cosine"])
def test_the_unit_of_losses_and_rewards_is_nothing(lr_rule, reward_rule, unit):
    def trajectory(factor):
        rng = random.Random(0)
        base = SGD([parameter()], lr=0.1, momentum=0.9)
        opt = AdaptiveOptimizer(base, lr_rule=lr_rule, reward_rule=reward_rule, momentum_rule="normalized")
        seen = []
        for step in range(300):
            opt.step_loss(factor * (3 * 0.99**step + rng.gauss(0, 0.3)))
            opt.step_reward(factor * (step / 100 + rng.gauss(0, 0.5) - 1))
            opt.step()
            seen += [opt.lr, opt.momentum]
        return seen

    assert trajectory(unit) == pytest.approx(trajectory(1.0), rel=1e-6)


def test_a_power_of_two_as_unit_changes_no_bit():
    def trajectory(factor):
        rng = random.Random(0)
        opt = AdaptiveOptimizer(SGD([parameter()], lr=0.1), lr_rule="trend+variance", reward_rule=REWARD)
        seen = []
        for _ in range(200):
            opt.step_loss(factor * rng.gauss(1, 0.3))
            opt.step_reward(factor * rng.gauss(0, 0.5))
            opt.step()
            seen.append(opt.lr)
        return seen

    assert trajectory(2.0**20) == trajectory(1.0) == trajectory(2.0**-20)
