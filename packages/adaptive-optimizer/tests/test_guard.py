"""The guard, equations (23) to (26): against an oracle in Python floats, and what it is there for."""

import math
import random

import pytest
import torch
from adaptive_optimizer import AdaptiveOptimizer
from torch.optim import SGD


def make(**rules):
    return AdaptiveOptimizer(SGD([torch.nn.Parameter(torch.zeros(2))], lr=1.0), guard=True, **rules)


def climb(value, signal):
    """A rule that never looks back."""
    return value * 1.02


def follow(opt, signals, stream="loss"):
    seen = []
    for signal in signals:
        getattr(opt, f"step_{stream}")(signal)
        opt.step()
        seen.append(opt.lr)
    return seen


def oracle(signals, rule, low=0.1, high=10.0):
    """The factor in use after each loss; ``rule`` moves M, which alone makes the factor."""

    def clamped(m):
        return min(max(m, low, floor()), high, max(B, 1.0))

    def floor():
        return min(low * c * c, c / 3, B)

    M = F = G = c = 1.0
    B, window, best, before, changes, seen = high, [], None, None, [], []
    for step, signal in enumerate(signals):
        M = clamped(rule(M, step))
        F = min(max(M, low, floor()), B)
        window.append(signal)
        if len(window) == 25:
            m = sum(window) / 25
            v = sum((x - m) ** 2 for x in window) / 24 / 25
            A = sum(changes) / len(changes) if changes else 0.0
            if best is None or m < best[0]:
                best, G, c, B = (m, v), F, max(c, F), min(1.1 * B, high)
            elif m - best[0] > 3 * max(math.sqrt(v + best[1]), A):
                best, B = (m, v), max(min(F, G) / 2, low)
                c = min(c, B)
            if before is not None:
                changes.append(abs(m - before))
            before, window = m, []
            M = clamped(M)
            F = min(max(M, low, floor()), B)
        seen.append(F)
    return seen


def curves():
    rng = random.Random(3)
    down = [3 * 0.99**i + rng.gauss(0, 0.1) for i in range(300)]
    return {
        "falling": down,
        "noise": [1 + rng.gauss(0, 0.3) for _ in range(300)],
        "falling, then bad": [x + (2.0 if i > 150 else 0) for i, x in enumerate(down)],
        "bad twice": [x + 3 * (i > 100) + 9 * (i > 200) for i, x in enumerate(down)],
    }


RULES = {
    "climbs": lambda value, step: value * 1.02,
    "climbs, then sinks": lambda value, step: value * (1.02 if step < 60 else 0.95),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("curve", curves())
def test_it_follows_the_equations(curve, rule):
    losses = curves()[curve]
    expected = oracle(losses, rule)
    opt = make(lr_rule=lambda value, signal: rule(value, signal.step))
    assert follow(opt, losses) == pytest.approx(expected, rel=1e-9)
    opt = make(reward_rule=lambda value, signal: rule(value, signal.step))
    assert follow(opt, [-loss for loss in losses], "reward") == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("stream", ["loss", "reward"])
def test_a_rate_that_climbs_too_far_is_brought_back_and_stays_back(stream):
    def run(guard):
        rng = random.Random(0)
        base = SGD([torch.nn.Parameter(torch.zeros(2))], lr=1.0)
        opt = AdaptiveOptimizer(base, guard=guard, **{"lr_rule" if stream == "loss" else "reward_rule": climb})
        level = 10.0
        for _ in range(600):
            level *= 1.01 if opt.lr > 4 else 0.99  # training that diverges above four times its rate
            loss = level * (1 + rng.gauss(0, 0.02))
            getattr(opt, f"step_{stream}")(loss if stream == "loss" else -loss)
            opt.step()
        return level, opt.lr

    assert run(guard=False)[0] > 100
    level, lr = run(guard=True)
    assert level < 2
    assert 0.5 < lr < 6


def test_noise_alone_does_not_talk_a_rate_down_that_has_climbed():
    rng = random.Random(1)
    falling = [3 * 0.97**i for i in range(75)]
    noise = [falling[-1] * (1 + rng.gauss(0, 0.2)) for _ in range(600)]

    def last(**settings):
        base = SGD([torch.nn.Parameter(torch.zeros(2))], lr=1.0)
        return follow(AdaptiveOptimizer(base, lr_rule="trend", **settings), falling + noise)[-1]

    assert last() == pytest.approx(0.1, rel=0.5)
    assert last(guard=True) > 1


def test_two_rules_that_climb_share_one_floor():
    losses = [3 * 0.98**i for i in range(200)]
    opt = make(lr_rule=climb, reward_rule=lambda value, signal: 1.0)
    alone = make(lr_rule=climb)
    assert follow(opt, losses) == follow(alone, losses)
    for each in (opt, alone):
        each.step_reward(0.0)
    assert opt.lr == alone.lr


def test_it_works_without_a_rule_and_leaves_a_run_without_trouble_alone():
    opt = make()
    assert set(follow(opt, curves()["falling"])) == {1.0}
    assert min(follow(opt, [50.0] * 60)) == 0.5
    assert opt.get_logs()[-1]["bound"] == 0.5


def test_a_loss_that_is_not_finite_counts_as_a_bad_window():
    opt = make(lr_rule=climb)
    climbed = follow(opt, [2.0 - 0.01 * i for i in range(60)])[-1]
    after = follow(opt, [math.nan, 1.0, 1.0])
    assert max(after) <= climbed / 2 * (1 + 1e-12)
    assert opt.nonfinite_losses == 1


@pytest.mark.parametrize("unit", [2.0**20, 2.0**-20])
def test_its_unit_is_nothing(unit):
    for losses in curves().values():
        scaled = [unit * loss for loss in losses]
        assert follow(make(lr_rule=climb), losses) == follow(make(lr_rule=climb), scaled)


def test_a_skipped_step_is_not_counted_by_the_guard_either():
    def run(skips):
        opt = make(lr_rule="trend")
        for step, loss in enumerate(curves()["bad twice"]):
            if step in skips:
                opt.step_loss(7 * loss)
                opt.zero_grad()
            opt.step_loss(loss)
            opt.step()
        return opt.state_dict()["adaptive"]

    assert run({20, 24, 110}) == run(())
