"""Replays what release 0.1.0 computed, to the bit."""

import json
import math
from pathlib import Path
from typing import Any

import pulseopt
import pytest
import torch
from pulseopt.tracking import EMATracker

GOLDEN = Path(__file__).parent / "golden"


def records(name: str) -> list[Any]:
    found = json.loads((GOLDEN / f"pulseopt_{name}.json").read_text())["records"]
    return [pytest.param(record["case"], record["expect"], id=record["id"]) for record in found]


def reward(kind: str, t: int, arm: int) -> float:
    if kind == "best0":
        return (0.5, 0.1, -0.2, 0.0, 0.3)[arm % 5] + 0.05 * math.sin(2.3 * t)
    if kind == "switch":
        return (0.4 if (arm == 0) == (t < 25) else -0.4) + 0.01 * ((31 * t) % 7)
    return 0.0 if kind == "zero" else -1 + 0.1 * arm


def losses(kind: str, n: int) -> list[float]:
    formulas = {
        "decay": lambda t: 2 * math.exp(-0.03 * t) + 0.15 * math.sin(1.7 * t) + 0.3,
        "vee": lambda t: 0.4 + abs(t - n / 2) / n + 0.05 * math.cos(3.1 * t),
        "flat": lambda t: 1 + 1e-4 * ((7919 * t) % 13 - 6),
        "zigzag": lambda t: 1 + (0.6 if t // 5 % 2 else -0.4) + 0.02 * (t % 5),
    }
    return [formulas[kind](t) for t in range(n)]


CONTROLLERS = {
    "ducb": pulseopt.DiscountedUCBController,
    "random": pulseopt.RandomController,
    "bucketed": pulseopt.BucketedContextualController,
}


@pytest.mark.parametrize(("case", "expect"), records("controllers"))
def test_controllers_play_the_arms_of_release_0_1_0(case, expect):
    controller = CONTROLLERS[case["controller"]](**case["kwargs"])
    arms = []
    for t in range(case["rounds"]):
        if "contexts" in case:
            controller.set_context(case["contexts"][t % len(case["contexts"])])
        arm = controller.select_mode()
        controller.update(arm, reward(case["rewards"], t, arm))
        arms.append(arm)
    assert arms == expect["arms"]
    assert controller.get_state() == expect["state"]


@pytest.mark.parametrize(("case", "expect"), records("rewards"))
def test_rewards_are_those_of_release_0_1_0(case, expect):
    losses, kwargs = tuple(case["step_losses"]), case["kwargs"]
    ends = {"ema_loss_start": case["ema_loss_start"], "ema_loss_end": case["ema_loss_end"]}
    summary = pulseopt.EpisodeSummary(
        0, 0, "a", 0, 1, len(losses), losses[0], losses[-1], 0.0, **ends, step_losses=losses
    )
    scored = pulseopt.NormalizedLossImprovementReward(**kwargs)
    assert scored.compute(summary) == expect["reward"]
    assert scored.get_last_details() == expect["details"]


@pytest.mark.parametrize(("case", "expect"), records("ema"))
def test_moving_averages_are_those_of_release_0_1_0(case, expect):
    tracker = EMATracker(**case["kwargs"])
    assert [tracker.update(value) for value in case["inputs"]] == expect["values"]
    assert (tracker.value, tracker.initialized) == (expect["final"], expect["initialized"])


def build(case):
    """The two parameters, the optimizer and the scheduler of a record."""
    a = torch.nn.Parameter(torch.tensor([0.3, -0.7, 1.1], dtype=torch.float64))
    b = torch.nn.Parameter((torch.arange(20, dtype=torch.float64) / 10 - 1).reshape(4, 5))
    groups = [{"params": [a], "lr": 0.1}, {"params": [b], "lr": 0.05}]
    if case["optimizer"] == "sgd":
        optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.01)
    else:
        optimizer = torch.optim.AdamW(groups, lr=0.1, weight_decay=0.02)
    schedulers = {
        None: lambda: None,
        "step": lambda: torch.optim.lr_scheduler.StepLR(optimizer, 8, 0.7),
        "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50),
    }
    return a, b, optimizer, schedulers[case["lr_scheduler"]]()


@pytest.mark.parametrize("track", [True, False])
@pytest.mark.parametrize(("case", "expect"), records("aees"))
def test_aees_runs_as_release_0_1_0_ran(case, expect, track):
    a, b, optimizer, scheduler = build(case)
    aees = pulseopt.AEES(optimizer, lr_scheduler=scheduler, track_update_norm=track, **case["kwargs"])
    names, rates = [], []
    for t, loss in enumerate(losses(case["losses"], case["steps"])):
        names.append(aees.step_start(t).name)
        a.grad, b.grad = a.detach() - 1, (b.detach() + 0.5) / 2
        aees.step_end(torch.tensor(loss, dtype=torch.float64) if t % 2 == 0 else loss)
        rates.append([group["lr"] for group in optimizer.param_groups])
    aees.finalize()
    logs = aees.get_logs()
    assert names == expect["candidate_names_per_step"]
    promised = dict(expect["logs"])
    if not track:
        promised["mean_update_norms"] = [None] * len(logs["episode_rewards"])
    assert {name: logs[name] for name in promised} == promised
    assert set(logs) - set(expect["log_keys"]) <= {"context_buckets"}
    if expect["context_bucket_per_episode"]:
        assert logs["context_buckets"] == expect["context_bucket_per_episode"]
    assert rates == expect["base_lrs_after_step"]
    assert a.tolist() == expect["final_a"]
    assert b.flatten().tolist() == expect["final_b"]
