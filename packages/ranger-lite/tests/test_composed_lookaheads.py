"""What users of composed Lookaheads reported, kept here and shown to fail with a published wrapper.

Each test runs a failure's own scenario with RangerLite, which passes, and with a wrapper, which must fail with the
error and the words listed beside it: that of pytorch-optimizer 4.1, or that of torch-optimizer 0.3 where the newer one
has mended it (exact resume, step hooks, schedulers, Accelerate).
"""

import io
import re
from contextlib import suppress
from copy import deepcopy

import pytest
import torch
from rangerlite import RangerLite
from torch.optim import RAdam

published = pytest.importorskip("pytorch_optimizer", reason="the comparison needs pytorch-optimizer")

older = pytest.importorskip("torch_optimizer", reason="the comparison needs torch-optimizer")

K, ALPHA = 3, 0.5
SETTINGS = {"lr": 0.1, "betas": (0.95, 0.999), "eps": 1e-5}


def ours(params, **settings):
    return RangerLite(params, **(SETTINGS | {"lookahead_steps": K, "lookahead_alpha": ALPHA} | settings))


def wrapped(params, **settings):
    """The published Lookahead around torch's RAdam."""
    return published.Lookahead(RAdam(params, **(SETTINGS | {"decoupled_weight_decay": True} | settings)), K, ALPHA)


def combined(params, **settings):
    """The published Ranger."""
    return published.Ranger(params, **({"k": K, "alpha": ALPHA} | SETTINGS | settings))


def wrapped_by_another(params, **settings):
    """The Lookahead of torch-optimizer; the newer package has mended what is shown with this one."""
    return older.Lookahead(RAdam(params, **(SETTINGS | {"decoupled_weight_decay": True} | settings)), K, ALPHA)


def parameter(value=1.0):
    return torch.nn.Parameter(torch.full((3,), value))


def descend(optimizer, p, steps):
    for _ in range(steps):
        p.grad = 2 * p.detach()
        optimizer.step()


def the_kth_step_falls_back_halfway(make):
    """kozistr#232: φ must be the weights before the first step, or the first pull back does nothing."""
    p, alone = parameter(), parameter()
    optimizer = make([p])
    descend(optimizer, p, K)
    descend(RAdam([alone], **SETTINGS, decoupled_weight_decay=True), alone, K)
    torch.testing.assert_close(p, 1.0 + ALPHA * (alone - 1.0))


def slow_weights_are_in_the_checkpoint_by_parameter(make):
    """mgrankin#6, lonePatient#3: the slow weights lie where torch's tools look for a parameter's state."""
    p = parameter()
    optimizer = make([p])
    descend(optimizer, p, 1)
    state = optimizer.state_dict()["state"][0]
    assert any(torch.equal(value, torch.ones(3)) for value in state.values() if torch.is_tensor(value))


def a_resumed_run_is_the_unbroken_run(make):
    """kozistr#306, tf/addons#1911: at every step of two cycles. The older wrapper has no checkpoint to resume from."""
    for stop in range(1, 2 * K + 2):
        unbroken, resumed = parameter(), parameter()
        descend(make([unbroken]), unbroken, 3 * K)
        first = make([resumed])
        descend(first, resumed, stop)
        saved = io.BytesIO()
        torch.save(first.state_dict(), saved)
        saved.seek(0)
        second = make([resumed])
        second.load_state_dict(torch.load(saved, weights_only=True))
        descend(second, resumed, 3 * K - stop)
        assert torch.equal(unbroken, resumed), f"stopped after {stop} steps"


def groups_come_back_from_the_checkpoint(make):
    """kozistr#237: all settings of a group are saved and loaded with it, k too, which the wrapper keeps elsewhere."""
    first, second = make([parameter()]), make([parameter()])
    for group in first.param_groups:
        group["lr"] = 0.7
        for name in ("lookahead_steps", "k"):
            if name in group:
                group[name] = 9
    second.load_state_dict(first.state_dict())
    group = second.param_groups[0]
    assert group["lr"] == 0.7
    assert group.get("lookahead_steps", group.get("k")) == 9, "k is lost"


def hooks_are_called(make):
    """kozistr#122: torch's hooks before and after a step."""
    p, called = parameter(), []
    optimizer = make([p])
    optimizer.register_step_pre_hook(lambda *_: called.append("before"))
    optimizer.register_step_post_hook(lambda *_: called.append("after"))
    descend(optimizer, p, 1)
    assert called == ["before", "after"]


def state_dict_hooks_are_called(make):
    """kozistr#122 again: the hooks that sharded checkpoints register."""
    called = []
    optimizer = make([parameter()])
    optimizer.register_state_dict_post_hook(lambda *_: called.append("saved"))
    optimizer.register_load_state_dict_post_hook(lambda *_: called.append("loaded"))
    optimizer.load_state_dict(optimizer.state_dict())
    assert called == ["saved", "loaded"]


def accelerate_prepares_it(make):
    """kozistr#484, #200, jettify#349: trainers want an Optimizer, with defaults, state and groups of its own."""
    accelerate = pytest.importorskip("accelerate", reason="needs accelerate")
    p = parameter()
    optimizer = accelerate.Accelerator(cpu=True).prepare(make([p]))
    torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=5)
    descend(optimizer, p, 1)


def a_deep_copy_runs_on_alike(make):
    """Trainers copy and pickle optimizers."""
    p = parameter()
    optimizer = make([p])
    descend(optimizer, p, 2)
    copied = deepcopy(optimizer)
    other = copied.param_groups[0]["params"][0]
    descend(optimizer, p, K)
    descend(copied, other, K)
    assert torch.equal(p, other)


def k_can_differ_between_groups(make):
    """Settings of a group are the group's own."""
    a, b = parameter(), parameter()
    optimizer = make([{"params": [a], "lookahead_steps": 1, "k": 1}, {"params": [b]}])
    for p in (a, b):
        p.grad = torch.ones(3)
    optimizer.step()
    assert not torch.equal(a, b), "k is not the group's own"


def slow_weights_can_be_evaluated_after_an_error(make):
    """lessw2020#24: evaluate on the slow weights, and get the fast ones back whatever happens."""
    p = parameter()
    optimizer = make([p])
    descend(optimizer, p, K + 1)
    fast = p.detach().clone()

    def evaluate():
        assert not torch.equal(p, fast)
        raise ZeroDivisionError

    with suppress(ZeroDivisionError):
        if hasattr(optimizer, "slow_weights"):
            with optimizer.slow_weights():
                evaluate()
        else:  # the two calls that the published wrapper documents
            optimizer.backup_and_load_cache()
            evaluate()
            optimizer.clear_and_load_backup()
    assert torch.equal(p, fast), "the fast weights are lost"


FAILURES = [
    (the_kth_step_falls_back_halfway, combined, AssertionError, "not close"),
    (slow_weights_are_in_the_checkpoint_by_parameter, wrapped, KeyError, "'state'"),
    (a_resumed_run_is_the_unbroken_run, wrapped_by_another, AttributeError, "'_optimizer_state_dict_pre_hooks'"),
    (groups_come_back_from_the_checkpoint, wrapped, AssertionError, "k is lost"),
    (hooks_are_called, wrapped_by_another, AttributeError, "'_optimizer_step_pre_hooks'"),
    (state_dict_hooks_are_called, wrapped, AttributeError, "'_optimizer_state_dict_post_hooks'"),
    (accelerate_prepares_it, wrapped_by_another, AttributeError, "'_optimizer_state_dict_pre_hooks'"),
    (a_deep_copy_runs_on_alike, wrapped, AttributeError, "'Lookahead' object has no attribute 'defaults'"),
    (k_can_differ_between_groups, wrapped, AssertionError, "k is not the group's own"),
    (slow_weights_can_be_evaluated_after_an_error, wrapped, AssertionError, "the fast weights are lost"),
]


@pytest.mark.parametrize("scenario", [scenario for scenario, *_ in FAILURES], ids=lambda s: s.__name__)
def test_here_it_works(scenario):
    scenario(ours)


@pytest.mark.parametrize(("scenario", "theirs", "error", "words"), FAILURES, ids=lambda x: getattr(x, "__name__", ""))
def test_with_the_published_wrapper_it_fails(scenario, theirs, error, words):
    with pytest.raises(error, match=re.escape(words)) as raised:
        scenario(theirs)
    assert raised.type is error
