"""A run that is saved and resumed is the unbroken run, to the bit, wherever it was cut."""

import io
import itertools

import pytest
import torch
from pulseopt import AEES
from torch import nn

LENGTH, STEPS = 4, 22
MODES = list(itertools.product(["independent", "conditional", "joint"], ["none", "trend", "trend_phase"]))


def build(seed=3, **settings):
    params = [nn.Parameter(torch.tensor([0.3, -0.7])), nn.Parameter(torch.ones(2, 2))]
    optimizer = torch.optim.AdamW(params, lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30)
    if settings.get("context_mode") == "trend_phase":
        settings["total_training_steps"] = STEPS
    aees = AEES(
        optimizer, lr_candidates=(0.5, 1.0, 2.0), noise_candidates=(0.0, 0.1), episode_length=LENGTH, seed=seed,
        lr_scheduler=schedule, context_trend_epsilon=0.01, **settings,
    )  # fmt: skip
    return params, optimizer, schedule, aees


def run(parts, steps, open_at=None):
    params, _, _, aees = parts
    for step in steps:
        if aees.current_candidate is None:
            aees.step_start(step)
        for p in params:
            p.grad = p.detach() - 1
        if step == open_at:
            return
        aees.step_end(2.0 / (1 + step % 7) + 0.1 * step)


def save(parts):
    """Through a file and back, as a training script would."""
    params, optimizer, schedule, aees = parts
    file = io.BytesIO()
    torch.save([[p.detach() for p in params], optimizer.state_dict(), schedule.state_dict(), aees.state_dict()], file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def load(parts, saved):
    for p, value in zip(parts[0], saved[0], strict=True):
        p.detach().copy_(value)
    for part, state in zip(parts[1:], saved[1:], strict=True):
        part.load_state_dict(state)


def end(parts):
    parts[3].finalize()
    return [p.tolist() for p in parts[0]], parts[3].get_logs()


@pytest.mark.parametrize(("control", "context"), MODES)
@pytest.mark.parametrize("options", [{}, {"control_mode": "random", "reward_baseline": "ema", "reward": "relative"}])
def test_resuming_at_any_step_of_an_episode_is_the_unbroken_run(control, context, options):
    settings = {"structured_control_mode": control, "context_mode": context, **options}
    whole = build(**settings)
    checkpoints = []
    for step in range(STEPS):
        checkpoints.append(save(whole))
        run(whole, [step])
    expected = end(whole)
    for cut in [*range(LENGTH + 1), *range(2 * LENGTH, 3 * LENGTH), STEPS - 1]:
        again = build(seed=None, **settings)
        load(again, checkpoints[cut])
        run(again, range(cut, STEPS))
        assert end(again) == expected, f"cut before step {cut}"


@pytest.mark.parametrize("cut", [0, 5, 11])
def test_a_step_may_be_open_when_it_is_saved(cut):
    whole, broken, again = build(), build(), build(seed=9)
    run(whole, range(STEPS))
    run(broken, range(cut + 1), open_at=cut)
    load(again, save(broken))
    assert again[3].current_candidate == broken[3].current_candidate is not None
    run(again, range(cut, STEPS))
    assert end(again) == end(whole)


@pytest.mark.parametrize(
    "other",
    [
        {"structured_control_mode": "joint"}, {"context_mode": "trend"}, {"control_mode": "random"},
        {"reward_baseline": "ema"}, {"ema_alpha": 0.5}, {"context_trend_epsilon_mode": "relative"},
    ],
)  # fmt: skip
def test_a_checkpoint_of_other_settings_is_refused_and_changes_nothing(other):
    mine, theirs = build(), build(**other)
    run(mine, range(6))
    run(theirs, range(9))
    before = save(mine)[3]
    with pytest.raises(ValueError, match="of the checkpoint must be"):
        mine[3].load_state_dict(theirs[3].state_dict())
    assert repr(before) == repr(mine[3].state_dict())


def test_a_broken_checkpoint_changes_nothing():
    mine = build()
    run(mine, range(6))
    before = repr(mine[3].state_dict())
    broken = mine[3].state_dict()
    broken["manager"]["controllers"]["noise"]["random_state"] = [3, [1, 2], None]
    broken["manager"]["controllers"]["lr"]["counts"] = [9.0, 9.0, 9.0]
    with pytest.raises(ValueError, match="random state"):
        mine[3].load_state_dict(broken)
    assert repr(mine[3].state_dict()) == before


def test_the_log_and_the_reward_are_not_in_the_way_of_a_shorter_log():
    mine, short = build(), build(log_limit=2)
    run(mine, range(STEPS))
    load(short, save(mine))
    assert short[3].get_logs()["episode_end_steps"] == mine[3].get_logs()["episode_end_steps"][-2:]
