"""Managers by themselves: what is refused, what is saved, and how a reward or a controller may fail."""

import math

import pytest
from pulseopt import (
    BucketedContextualController,
    CandidateConfig,
    DiscountedUCBController,
    EpisodeManager,
    NormalizedLossImprovementReward,
    StructuredEpisodeManager,
)
from pulseopt.controller import FixedModeController, RandomController
from pulseopt.legacy import ExplorationMode

MODES = [ExplorationMode("a"), CandidateConfig("b", 2.0, 0.1)]


def manager(controller=None, **settings):
    controller = controller or DiscountedUCBController(2, random_seed=0)
    return EpisodeManager(MODES, controller, NormalizedLossImprovementReward(), 3, **settings)


def run(managed, steps):
    names = []
    for step in steps:
        names.append(managed.on_step_start(step).name)
        managed.on_step_end(2.0 / (1 + step % 5))
    return names


@pytest.mark.parametrize("cut", range(8))
def test_a_manager_resumes_to_the_bit(cut):
    whole, first, second = manager(), manager(), manager(DiscountedUCBController(2, random_seed=9))
    expected = run(whole, range(20))
    names = run(first, range(cut))
    second.load_state_dict(first.state_dict())
    assert names + run(second, range(cut, 20)) == expected
    assert second.get_logs() == whole.get_logs()


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: DiscountedUCBController(3, 0.5, 0.9, 2, random_seed=seed),
        lambda seed: RandomController(3, random_seed=seed),
        lambda seed: BucketedContextualController(3, ["x", "y"], random_seed=seed),
        lambda seed: FixedModeController(3, 1),
    ],
)
def test_a_controller_resumes_to_the_bit(make):
    def play(controller, rounds):
        arms = []
        for t in rounds:
            if hasattr(controller, "set_context"):
                controller.set_context("xyyx"[t % 4])
            arms.append(controller.select_mode())
            controller.update(arms[-1], math.sin(t) / (1 + arms[-1]))
        return arms

    whole = play(make(4), range(40))
    for cut in (0, 1, 5, 17):
        first, second = make(4), make(None)
        play(first, range(cut))
        second.load_state_dict(first.state_dict())
        assert play(second, range(cut, 40)) == whole[cut:]
        play(first, range(cut, 40))
        assert second.state_dict() == first.state_dict()


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (DiscountedUCBController(2), DiscountedUCBController(3)),
        (DiscountedUCBController(2), DiscountedUCBController(2, discount=0.5)),
        (RandomController(2), RandomController(3)),
        (FixedModeController(2, 0), FixedModeController(2, 1)),
        (BucketedContextualController(2, ["a"]), BucketedContextualController(2, ["b"])),
    ],
)
def test_a_controller_refuses_the_state_of_another(mine, theirs):
    before = mine.state_dict()
    with pytest.raises(ValueError, match="of the checkpoint must be"):
        mine.load_state_dict(theirs.state_dict())
    assert mine.state_dict() == before


def test_a_controller_without_a_state_says_so():
    class Bare:
        def select_mode(self):
            return 0

        def update(self, mode_id, reward):
            pass

        def get_state(self):
            return {}

    with pytest.raises(TypeError, match="Bare must have state_dict"):
        manager(Bare()).state_dict()


def test_a_loss_that_is_not_finite_is_not_recorded():
    managed = manager()
    managed.on_step_start(0)
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="loss must be finite"):
            managed.on_step_end(bad)
        with pytest.raises(ValueError, match="update_norm must be finite"):
            managed.on_step_end(1.0, update_norm=bad)
    run(managed, range(1, 4))
    assert managed.get_logs()["episode_end_steps"] == [3]


def test_an_episode_whose_reward_fails_is_dropped_not_kept_open():
    managed = manager()
    managed.on_step_start(0)
    managed.on_step_end(-1.0)
    managed.on_step_end(-1.0)
    with pytest.raises(ValueError, match="must be positive for log reward"):
        managed.on_step_end(-1.0)
    run(managed, range(3, 6))
    assert managed.get_logs()["episode_start_steps"] == [3]


def test_a_reward_that_is_no_finite_number_is_refused():
    class Bad:
        def compute(self, summary):
            return math.nan

    managed = EpisodeManager(MODES, RandomController(2), Bad(), 1)
    managed.on_step_start(0)
    with pytest.raises(ValueError, match="finite number"):
        managed.on_step_end(1.0)
    managed.on_step_start(1)


@pytest.mark.parametrize(
    ("lr", "noise", "lr_controller", "noise_controller", "error"),
    [
        ([1.0, 2.0], [0.0], None, None, TypeError),
        ([1.0], [0.0], RandomController(1), None, TypeError),
        ([1.0, 2.0], [0.0, 1.0], RandomController(4), RandomController(2), TypeError),
    ],
)
def test_joint_mode_takes_one_controller_over_pairs(lr, noise, lr_controller, noise_controller, error):
    with pytest.raises(error, match="joint mode"):
        StructuredEpisodeManager(
            lr, noise, lr_controller, noise_controller, NormalizedLossImprovementReward(), 1,
            structured_control_mode="joint",
        )  # fmt: skip


def test_joint_mode_plays_and_learns_pairs():
    controller = FixedModeController(6, 4)
    updates = []
    controller.update = lambda arm, reward: updates.append(arm)
    managed = StructuredEpisodeManager(
        [1.0, 2.0, 3.0], [0.0, 0.5], controller, None, NormalizedLossImprovementReward(), 1,
        structured_control_mode="joint",
    )  # fmt: skip
    candidate = managed.on_step_start(0)
    managed.on_step_end(1.0)
    assert (candidate.lr_multiplier, candidate.noise_std) == (3.0, 0.0)
    assert updates == [4]
    assert managed.get_logs()["selected_lr_indices"] == [2]
    assert list(managed.controllers) == ["joint"]


def test_the_carried_average_begins_where_the_last_episode_ended():
    managed = manager(reward_baseline="ema")
    run(managed, range(9))
    logs = managed.get_logs()
    assert logs["episode_ema_loss_starts"][0] == 2.0
    assert logs["episode_ema_loss_starts"][1:] == logs["episode_ema_loss_ends"][:-1]


def test_steps_may_end_more_often_than_they_start():
    managed = manager()
    managed.on_step_start(10)
    for _ in range(3):
        managed.on_step_end(1.0)
    assert managed.get_logs()["episode_end_steps"] == [12]
