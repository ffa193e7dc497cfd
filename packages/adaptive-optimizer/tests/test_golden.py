"""Runs of release 0.1.0 are replayed to the bit, and continued from a checkpoint taken between loss and step."""

import json
from pathlib import Path

import pytest
import torch
from adaptive_optimizer import AdaptiveOptimizer
from torch.optim import SGD, AdamW, RMSprop

GOLDEN = json.loads((Path(__file__).parent / "golden_0_1_0.json").read_text(encoding="utf-8"))
BASES = {
    "adamw": lambda groups: AdamW(groups, lr=0.1, weight_decay=0.1),
    "sgd": lambda groups: SGD(groups, lr=0.1, momentum=0.9),
    "rmsprop": lambda groups: RMSprop(groups, lr=0.1, momentum=0.5, weight_decay=0.01),
}
KEYS = ("lr", "momentum", "betas", "alpha", "weight_decay")


def make(kind):
    """The optimizer of a golden run, and the list that the values of its steps go to."""
    first, second = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    opt = AdaptiveOptimizer(BASES[kind]([{"params": [first]}, {"params": [second], "lr": 0.01}]), **rules(kind))
    used = []
    opt.register_step_pre_hook(lambda base, *_: used.append([values(group) for group in base.param_groups]))
    return opt, used


def rules(kind):
    return GOLDEN[kind]["rules"]


def values(group):
    held = [group[key] for key in KEYS if key in group]
    return [number for value in held for number in (value if isinstance(value, tuple) else [value])]


def play(opt, events):
    for kind, value in events:
        if kind == "step":
            opt.step()
        elif kind == "zero_grad":
            opt.zero_grad()
        else:
            getattr(opt, f"step_{kind}")(value)


@pytest.mark.parametrize("kind", GOLDEN)
def test_a_run_of_0_1_0_is_replayed_to_the_bit(kind):
    opt, used = make(kind)
    play(opt, GOLDEN[kind]["events"])
    assert used == GOLDEN[kind]["used"]
    assert len(used) > 50


@pytest.mark.parametrize("kind", GOLDEN)
def test_a_checkpoint_of_0_1_0_continues_to_the_bit(kind):
    golden = GOLDEN[kind]
    opt, used = make(kind)
    opt.load_state_dict({**opt.optimizer.state_dict(), "adaptive": golden["adaptive"]})
    play(opt, golden["events"][golden["saved_after"] :])
    assert used == golden["used"][golden["steps_before"] :]


@pytest.mark.parametrize("kind", GOLDEN)
def test_a_loss_in_a_checkpoint_of_0_1_0_can_still_be_withdrawn(kind):
    golden = GOLDEN[kind]
    skipped = [["zero_grad", None], ["loss", 0.3], ["loss", 0.4], ["step", None]]
    unbroken, used = make(kind)
    play(unbroken, golden["events"][: golden["saved_after"]] + skipped)
    resumed, used_after = make(kind)
    resumed.load_state_dict({**resumed.optimizer.state_dict(), "adaptive": golden["adaptive"]})
    play(resumed, skipped)
    assert used_after == used[-1:]
    assert resumed.state_dict()["adaptive"] == unbroken.state_dict()["adaptive"]
