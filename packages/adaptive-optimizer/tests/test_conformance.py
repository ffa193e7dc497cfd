"""The test kit's checks."""

import pytest
from adaptive_optimizer import AdaptiveOptimizer
from torch.optim import SGD, AdamW

testkit = pytest.importorskip("testkit", reason="needs the workspace's test kit")

RULES = {
    "lr_rule": "trend+variance+cosine_restart",
    "wd_rule": "trend",
    "reward_rule": "trend+scaling+variance",
    "cycle_length": 3,
}
SETTINGS = {
    "cycle_length": "[1, inf)",
    "cycle_mult": "[1, inf)",
    "cycle_floor": "[0, 1]",
    "loss_beta": "[0, 1)",
    "min_rel_improve": "[0, inf)",
    "noise_weight": "[0, inf)",
    "min_lr": "[0, inf)",
    "beta_warmup": "[0, inf)",
    "accumulate": "[1, inf)",
    "log_limit": "[0, inf)",
    "loss_delay": "[0, 1]",
}
INTEGERS = ("cycle_length", "beta_warmup", "accumulate", "log_limit", "loss_delay")


def adamw(params, *, lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1, **rules):
    return AdaptiveOptimizer(AdamW(params, lr=lr, betas=betas, weight_decay=weight_decay), **rules)


def sgd(params, *, lr=1e-2, momentum=0.9, **rules):
    return AdaptiveOptimizer(SGD(params, lr=lr, momentum=momentum), **rules)


def feed(opt, loss):
    opt.step_loss(loss)
    opt.step_reward(0.5)


def contract(excluded="", **facts):
    """``excluded``: a setting that this case does not go with."""
    intervals = {name: interval for name, interval in SETTINGS.items() if name != excluded}
    integers = tuple(name for name in INTEGERS if name != excluded)
    return testkit.Contract(
        **{"intervals": intervals, "integers": integers, "feed": feed, "host_reads": 1, "shows": SETTINGS, **facts}
    )


CASES = [
    testkit.Case("no rule", adamw, contract=contract(feed=None, host_reads=0)),
    testkit.Case("every rule", adamw, contract=contract(), **RULES, betas_rule=("relative", "variance"), beta_warmup=2),
    testkit.Case("momentum", sgd, contract=contract(sparse="supported"), **RULES, momentum_rule="normalized"),
    testkit.Case("guard", adamw, contract=contract(), **RULES, guard=True),
    testkit.Case("delayed losses", adamw, contract=contract("accumulate"), **RULES, loss_delay=1),
    testkit.Case("two losses a step", adamw, contract=contract("loss_delay"), **RULES, accumulate=2),
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("check", testkit.CHECKS, ids=lambda check: check.__name__)
def test_passes_the_check(check, case):
    check(case)
