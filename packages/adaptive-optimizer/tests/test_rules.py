"""Every rule against an oracle in Python floats, written from the method's equations and the table of its rules."""

import math
import random

import pytest
import torch
from adaptive_optimizer import RULES, AdaptiveOptimizer, register_rule
from torch.optim import SGD, AdamW, RMSprop


class Oracle:
    """One stream's statistics, equations (1) to (5)."""

    def __init__(self, sign=1.0):
        self.sign, self.n, self.E, self.D, self.var, self.g = sign, 0, None, 0.0, 0.0, None
        self.cv2, self.up, self.down = 0.0, False, False

    def feed(self, loss):
        self.n += 1
        if self.E is None:
            self.E = self.first = loss
            return
        b, before = 0.9, self.E
        self.E = b * before + (1 - b) * loss
        self.D = self.D + max(1 - b, 1 / self.n) * (abs(loss - before) - self.D)
        S = max(abs(before), self.D, 1e-12)
        g = self.sign * (before - self.E) / S
        self.up, self.down = g > 1e-4, g < -1e-4
        self.var = b * (self.var + (1 - b) * (loss - before) ** 2)
        self.cv2 = min(self.var / S**2, 100.0)


def clip(x, low, high):
    return max(low, min(high, x))


def parameter():
    return torch.nn.Parameter(torch.zeros(3))


def follow(opt, losses, read, rewards=None):
    """What ``read`` says of the optimizer inside each step."""
    seen = []
    handle = opt.register_step_pre_hook(lambda *_: seen.append(read(opt)))
    for loss, reward in zip(losses, [None] * len(losses) if rewards is None else rewards, strict=True):
        if loss is not None:
            opt.step_loss(loss)
        if reward is not None:
            opt.step_reward(reward)
        opt.step()
    handle.remove()
    return seen


@pytest.fixture(params=["falling", "noisy", "crossing zero", "constant", "rising"])
def losses(request):
    rng = random.Random(1)
    return {
        "falling": [3 * 0.98**i for i in range(180)],
        "noisy": [1 + rng.gauss(0, 0.5) for _ in range(180)],
        "crossing zero": [rng.gauss(0, 1) - i / 60 for i in range(180)],
        "constant": [0.7] * 180,
        "rising": [1.01**i for i in range(180)],
    }[request.param]


def test_lr_trend(losses):
    opt = AdaptiveOptimizer(SGD([parameter()], lr=0.5), lr_rule="trend")
    oracle, M, expected = Oracle(), 1.0, []
    for loss in losses:
        oracle.feed(loss)
        M = clip(M * (1.02 if oracle.up else 0.96 if oracle.down else 0.999), 0.1, 10)
        expected.append(0.5 * M)
    assert follow(opt, losses, lambda o: o.param_groups[0]["lr"]) == pytest.approx(expected, rel=1e-12)


def test_lr_variance(losses):
    opt = AdaptiveOptimizer(SGD([parameter()], lr=0.5), lr_rule="variance", noise_weight=2.0)
    oracle, expected = Oracle(), []
    for loss in losses:
        oracle.feed(loss)
        expected.append(0.5 * clip(1 / (1 + 2.0 * oracle.cv2), 0.1, 1))
    assert follow(opt, losses, lambda o: o.lr) == pytest.approx(expected, rel=1e-9)


def test_lr_cosine_goes_down_once_and_stays():
    opt = AdaptiveOptimizer(SGD([parameter()], lr=1.0), lr_rule="cosine", cycle_length=40)
    expected = [0.1 + 0.9 * (1 + math.cos(math.pi * min(k, 40) / 40)) / 2 for k in range(100)]
    assert follow(opt, [1.0] * 100, lambda o: o.lr) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("mult", [1, 2, 1.5])
def test_lr_cosine_restart_starts_ever_longer_cycles(mult):
    opt = AdaptiveOptimizer(SGD([parameter()], lr=1.0), lr_rule="cosine_restart", cycle_length=8, cycle_mult=mult)
    expected, start, length = [], 0.0, 8.0
    for k in range(200):
        while k >= start + length:
            start, length = start + length, length * mult
        expected.append(0.1 + 0.9 * (1 + math.cos(math.pi * (k - start) / length)) / 2)
    assert follow(opt, [1.0] * 200, lambda o: o.lr) == pytest.approx(expected, rel=1e-9)
    assert expected[8] == 1.0


def test_cosines_go_on_without_losses():
    opt = AdaptiveOptimizer(SGD([parameter()], lr=1.0), lr_rule="cosine", cycle_length=10)
    seen = []
    for _ in range(11):
        opt.step()
        seen.append(opt.lr)
    assert seen[0] == 1.0
    assert seen[10] == pytest.approx(0.1)


def test_parts_multiply_and_their_order_is_nothing(losses):
    rules = ["trend+variance+cosine", "cosine + trend + variance"]
    seen = [
        follow(AdaptiveOptimizer(SGD([parameter()], lr=1.0), lr_rule=rule), losses, lambda o: (o.lr, o.factors))
        for rule in rules
    ]
    assert seen[0] == seen[1]
    for lr, factors in seen[0]:
        assert lr == pytest.approx(clip(factors["M"] * factors["V"] * factors["C"], 0.1, 10), rel=1e-12)


def horizon(q, mu0, low, high, before):
    """A coefficient with its horizon scaled by q, at most 2 % away from the step before."""
    q = clip(q, 0.98 * before, 1.02 * before)
    return q, clip(1 - (1 - mu0) / q, low, high)


@pytest.mark.parametrize("rule", ["relative", "inverse", "normalized"])
@pytest.mark.filterwarnings("ignore:momentum_rule='inverse'")
def test_momentum(losses, rule):
    opt = AdaptiveOptimizer(SGD([parameter()], lr=1.0, momentum=0.9), momentum_rule=rule)
    oracle, H, used, A, target, expected = Oracle(), 1.0, 1.0, None, 1.0, []
    for loss in losses:
        oracle.feed(loss)
        if rule == "relative":
            target = H = clip(H * (1.02 if oracle.up else 0.96 if oracle.down else 1), 0.1 / 0.5, 0.1 / (1 - 0.99))
        elif rule == "inverse" and oracle.E > 0 and oracle.first > 0:
            target = oracle.first / oracle.E
        elif rule == "normalized":
            s = 0.5 if A is None else abs(loss) / (abs(loss) + A)
            target = 1 / (2 * s)
            A = abs(loss) if A is None else 0.9 * A + 0.1 * abs(loss)
        target = clip(target, 0.1 / 0.5, 0.1 / (1 - 0.99))
        used, mu = horizon(target, 0.9, 0.5, 0.99, used)
        expected.append(mu)
    assert follow(opt, losses, lambda o: o.param_groups[0]["momentum"]) == pytest.approx(expected, rel=1e-9)


def test_betas_wait_and_then_move(losses):
    opt = AdaptiveOptimizer(
        AdamW([parameter()], betas=(0.9, 0.99)), betas_rule=("relative", "variance"), beta_warmup=50
    )
    oracle, H, used1, used2, beta1, beta2, expected = Oracle(), 1.0, 1.0, 1.0, 0.9, 0.99, []
    for k, loss in enumerate(losses):
        oracle.feed(loss)
        if k >= 50:
            H = clip(H * (1.02 if oracle.up else 0.96 if oracle.down else 1), 0.1 / 0.5, 0.1 / (1 - 0.98))
            used1, beta1 = horizon(H, 0.9, 0.5, 0.98, used1)
            used2, beta2 = horizon(min(1 + oracle.cv2, 0.01 / 0.0001), 0.99, 0.99, 0.9999, used2)
        expected.append((beta1, beta2))
    seen = follow(opt, losses, lambda o: o.param_groups[0]["betas"])
    assert [b for pair in seen for b in pair] == pytest.approx([b for pair in expected for b in pair], rel=1e-9)


def test_alpha_stable(losses):
    opt = AdaptiveOptimizer(RMSprop([parameter()], alpha=0.99), alpha_rule="stable")
    oracle, used, expected = Oracle(), 1.0, []
    for loss in losses:
        oracle.feed(loss)
        used, alpha = horizon(min(1 + oracle.cv2, 0.01 / 0.0001), 0.99, 0.99, 0.9999, used)
        expected.append(alpha)
    assert follow(opt, losses, lambda o: o.param_groups[0]["alpha"]) == pytest.approx(expected, rel=1e-9)


def test_wd_trend(losses):
    opt = AdaptiveOptimizer(AdamW([parameter()], weight_decay=0.2), wd_rule="trend")
    oracle, N, expected = Oracle(), 1.0, []
    for loss in losses:
        oracle.feed(loss)
        N = clip(N * (0.98 if oracle.up else 1.02 if oracle.down else 1), 0.1, 10)
        expected.append(0.2 * N)
    assert follow(opt, losses, lambda o: o.param_groups[0]["weight_decay"]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("rule", ["trend", "variance", "scaling", "trend+scaling+variance"])
def test_rewards_steer_the_rate(losses, rule):
    opt = AdaptiveOptimizer(SGD([parameter()], lr=1.0), reward_rule=rule)
    oracle, R, center, spread, expected = Oracle(sign=-1.0), 1.0, None, 0.0, []
    for n, reward in enumerate(losses, 1):
        oracle.feed(reward)
        R = clip(R * (1.02 if oracle.up else 0.96 if oracle.down else 1), 0.1, 10)
        if center is None:
            center = reward
        else:
            spread += max(0.01, 1 / n) * (abs(reward - center) - spread)
            center = 0.99 * center + 0.01 * reward
        parts = {
            "trend": R,
            "variance": clip(1 / (1 + oracle.cv2), 0.1, 1),
            "scaling": clip(1 + (oracle.E - center) / max(4 * spread, 1e-12), 0.1, 2),
        }
        expected.append(clip(math.prod(parts[name] for name in rule.split("+")), 0.1, 10))
    seen = follow(opt, [None] * len(losses), lambda o: o.param_groups[0]["lr"], rewards=losses)
    assert seen == pytest.approx(expected, rel=1e-6)


def test_progress_acts_on_what_is_clear_of_the_noise(losses):
    opt = AdaptiveOptimizer(SGD([parameter()], lr=1.0), reward_rule="progress")
    oracle, R, center, spread, expected = Oracle(sign=-1.0), 1.0, None, 0.0, []
    for n, reward in enumerate(losses, 1):
        oracle.feed(reward)
        if center is None:
            center = reward
        else:
            spread += max(0.01, 1 / n) * (abs(reward - center) - spread)
            center = 0.99 * center + 0.01 * reward
        distance = (oracle.E - center) / max(4 * spread, 1e-12)
        R = clip(R * (1.02 if distance > 0.15 else 1 / 1.02 if distance < -0.15 else 1), 0.1, 2)
        expected.append(R)
    seen = follow(opt, [None] * len(losses), lambda o: o.lr, rewards=losses)
    assert seen == pytest.approx(expected, rel=1e-6)


def test_scaling_with_a_given_centre_and_span_is_the_original_formula():
    opt = AdaptiveOptimizer(SGD([parameter()], lr=1.0), reward_rule="scaling", reward_center=10.0, reward_span=40.0)
    average, seen, expected = None, [], []
    for reward in [0.0, 20.0, 50.0, 10.0]:
        average = reward if average is None else 0.9 * average + 0.1 * reward
        expected.append(1 + (average - 10) / 40)
        opt.step_reward(reward)
        seen.append(opt.lr)
        opt.step()
    assert seen == pytest.approx(expected)


def test_reward_trend_moves_momentum_too_where_momentum_has_a_rule():
    losses = [1.0] * 20  # flat: the momentum rule itself holds still
    for rule in ("relative", "inverse", "normalized"):
        base = SGD([parameter()], lr=1.0, momentum=0.9)
        opt = AdaptiveOptimizer(base, momentum_rule=rule, reward_rule="trend", compensate_lr=False)
        seen = follow(opt, losses, lambda o: o.momentum, rewards=[1.0 + i for i in range(20)])
        assert seen == pytest.approx([1 - 0.1 / 1.02**i for i in range(20)], rel=1e-9)
    opt = AdaptiveOptimizer(SGD([parameter()], lr=1.0, momentum=0.9), reward_rule="trend")
    assert set(follow(opt, losses, lambda o: o.momentum, rewards=[1.0 + i for i in range(20)])) == {0.9}


def test_inverse_holds_and_warns_once_at_losses_that_are_not_positive():
    opt = AdaptiveOptimizer(SGD([parameter()], lr=1.0, momentum=0.9), momentum_rule="inverse")
    opt.step_loss(1.0)
    opt.step()
    with pytest.warns(UserWarning, match="needs positive losses") as caught:
        follow(opt, [-5.0] * 40, lambda o: o.momentum)
    assert len(caught) == 1
    assert 0.9 < opt.momentum < 0.99


@pytest.mark.parametrize(
    ("argument", "rule"),
    [
        ("lr_rule", "trend+trend"),
        ("lr_rule", "unknown"),
        ("lr_rule", ""),
        ("lr_rule", "trend+"),
        ("lr_rule", "+"),
        ("lr_rule", "relative"),
        ("momentum_rule", "relative+inverse"),
        ("momentum_rule", "trend"),
        ("wd_rule", " "),
        ("alpha_rule", "variance"),
        ("reward_rule", "scaling+scaling"),
        ("reward_rule", "cosine"),
    ],
)
def test_rules_that_do_not_exist_are_refused_with_those_that_do(argument, rule):
    knob = argument.removesuffix("_rule")
    with pytest.raises(ValueError, match=f"{argument} must be None, a callable, or one") as caught:
        AdaptiveOptimizer(SGD([parameter()], lr=1.0, momentum=0.9), **{argument: rule}, strict=False)
    assert all(repr(name) in str(caught.value) for name in RULES[knob])


@pytest.mark.parametrize("pair", ["relative", ("relative",), ("relative", "variance", None)])
def test_betas_need_a_pair(pair):
    with pytest.raises(TypeError, match="betas_rule must be a pair"):
        AdaptiveOptimizer(AdamW([parameter()]), betas_rule=pair)


@pytest.mark.parametrize("pair", [("variance", None), (None, "relative"), ("relative", "relative")])
def test_each_beta_has_its_own_rule(pair):
    with pytest.raises(ValueError, match=r"betas_rule\[[01]\] must be None, a callable, or one of"):
        AdaptiveOptimizer(AdamW([parameter()]), betas_rule=pair)


def test_none_in_words_is_none():
    assert not AdaptiveOptimizer(AdamW([parameter()]), lr_rule="none").state_dict().keys() - {"state", "param_groups"}


def test_a_rule_of_your_own_has_a_name_and_stays_inside_the_clamp():
    register_rule("doubling", lambda value, signal: 2 * value, knob="lr")
    try:
        opt = AdaptiveOptimizer(SGD([parameter()], lr=1.0), lr_rule="doubling+variance")
        assert follow(opt, [1.0] * 5, lambda o: o.lr) == [2.0, 4.0, 8.0, 10.0, 10.0]
        assert opt.factors["doubling"] == 10.0
        with pytest.raises(ValueError, match="has a rule 'doubling' already"):
            register_rule("doubling", lambda value, signal: value, knob="lr")
    finally:
        del RULES["lr"]["doubling"]


def test_a_rule_without_a_knob_is_known_everywhere():
    register_rule("still", lambda value, signal: value)
    try:
        AdaptiveOptimizer(AdamW([parameter()]), lr_rule="still", betas_rule=("still", "still"), wd_rule="still")
    finally:
        for rules in RULES.values():
            del rules["still"]


def test_a_callable_stands_in_for_a_name():
    def by_level(value, signal):
        return 1.5 if signal.average > 1 else 0.5

    opt = AdaptiveOptimizer(SGD([parameter()], lr=1.0), lr_rule=by_level)
    assert follow(opt, [2.0, -50.0], lambda o: o.lr) == [1.5, 0.5]


def test_a_rule_that_returns_nan_changes_nothing():
    opt = AdaptiveOptimizer(SGD([parameter()], lr=1.0), lr_rule=lambda value, signal: math.nan)
    assert follow(opt, [2.0, 1.0], lambda o: o.lr) == [1.0, 1.0]


@pytest.mark.parametrize("name", ["a+b", "none", "", "two words"])
def test_a_name_is_one_word(name):
    with pytest.raises(ValueError, match="name must be made of letters"):
        register_rule(name, lambda value, signal: value)


def test_an_unknown_knob_or_no_function_is_refused():
    with pytest.raises(ValueError, match="knob must be one of lr, momentum"):
        register_rule("mine", lambda value, signal: value, knob="eps")
    with pytest.raises(TypeError, match="callable"):
        register_rule("mine", 3)
