"""AEES in the user's own loop: what release 0.1.0 got wrong, and what surrounds a step."""

import copy
import math
import pickle
import warnings
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pulseopt import AEES, NormalizedLossImprovementReward
from pulseopt._step.optimizer_step import OptimizerStep
from torch import nn

ARMS = {"lr_candidates": (0.5, 1.0, 2.0), "noise_candidates": (0.0, 0.05), "episode_length": 3, "seed": 0}


def problem(kind=torch.optim.SGD, **options):
    """Two parameters in two groups with gradients, and their optimizer."""
    params = [nn.Parameter(torch.tensor([0.3, -0.7, 1.1])), nn.Parameter(torch.linspace(-1, 1, 6).reshape(2, 3))]
    for p in params:
        p.grad = p.detach().clone()
    options = {"lr": 0.1, **options}
    return params, kind([{"params": [params[0]]}, {"params": [params[1]], "lr": 0.05}], **options)


def one_step(aees, loss=1.0, step=0, **options):
    aees.step_start(step)
    aees.step_end(loss, **options)


def always(lr=1.0, noise=0.0, **options):
    """Settings under which every step has this candidate."""
    return {"lr_candidates": (lr,), "noise_candidates": (noise,), "seed": 0, **options}


class Reads(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts how often the host waits for a tensor's value."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


# 1. one device read, no copy


@pytest.mark.parametrize(("settings", "reads"), [(always(), 1), (ARMS, 1), (always(noise=0.1), 1)])
def test_a_step_reads_the_device_once_for_the_loss(settings, reads):
    _, optimizer = problem()
    aees = AEES(optimizer, **settings)
    for step in range(8):
        aees.step_start(step)
        with Reads() as counted:
            aees.step_end(torch.tensor(1.0))
        assert counted.count == reads


def test_the_update_norm_takes_one_more_read_and_is_the_step_length(monkeypatch):
    params, optimizer = problem()
    aees = AEES(optimizer, **always(episode_length=1), track_update_norm=True)
    before = [p.detach().clone() for p in params]
    lists = []
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self, real=torch.Tensor.tolist: lists.append(1) or real(self))
    one_step(aees)
    moved = math.sqrt(sum(float((p.detach() - b).double().pow(2).sum()) for p, b in zip(params, before, strict=True)))
    assert aees.get_logs()["mean_update_norms"] == [pytest.approx(moved, rel=1e-6)]
    assert len(lists) == 1


def test_without_the_norm_nothing_is_cloned(monkeypatch):
    _, optimizer = problem()
    aees = AEES(optimizer, **always(2.0))
    monkeypatch.setattr(torch.Tensor, "clone", lambda self: pytest.fail("a tensor was copied"))
    one_step(aees)


# 3. non-finite losses


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("way_out", ["skip", "again", "start", "finalize"])
def test_a_refused_loss_changes_nothing_and_leaves_every_way_open(bad, way_out):
    params, optimizer = problem()
    aees = AEES(optimizer, **ARMS)
    one_step(aees)
    before = [p.detach().clone() for p in params]
    aees.step_start(1)
    with pytest.raises(ValueError, match="must be finite"):
        aees.step_end(bad)
    assert all(torch.equal(p, b) for p, b in zip(params, before, strict=True))
    {
        "skip": aees.step_skip,
        "again": lambda: aees.step_end(0.5),
        "start": lambda: one_step(aees, 0.5, 2),
        "finalize": aees.finalize,
    }[way_out]()
    one_step(aees, 0.4, 3)
    aees.finalize()
    assert all(map(math.isfinite, aees.get_logs()["episode_end_losses"]))


def test_skipping_steps_neither_the_optimizer_nor_the_schedule_nor_the_score():
    params, optimizer = problem()
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    aees = AEES(optimizer, **always(episode_length=2), lr_scheduler=schedule, on_nonfinite="skip")
    before = params[0].detach().clone()
    one_step(aees, math.nan)
    aees.step_start(1)
    aees.step_skip()
    assert torch.equal(params[0], before)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert aees.current_candidate is None
    one_step(aees, 1.0, 2)
    one_step(aees, 0.5, 3)
    assert aees.get_logs()["episode_start_losses"] == [1.0]
    with pytest.raises(RuntimeError, match="step_skip"):
        aees.step_skip()


class Failing(torch.optim.SGD):
    fails = False

    def step(self, closure=None):
        if self.fails:
            raise RuntimeError("out of memory")
        return super().step(closure)


def test_a_step_that_fails_is_as_if_it_had_not_been_tried():
    runs = []
    for fails in (False, True):
        params, optimizer = problem(Failing)
        aees = AEES(optimizer, **{**ARMS, "lr_candidates": (2.0,), "noise_candidates": (0.1,)})
        one_step(aees)
        gradients = [p.grad for p in params]
        aees.step_start(1)
        if fails:
            optimizer.fails = True
            with pytest.raises(RuntimeError, match="out of memory"):
                aees.step_end(0.9)
            assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.05]
            assert all(p.grad is g for p, g in zip(params, gradients, strict=True))
            optimizer.fails = False
        aees.step_end(0.9)
        one_step(aees, 0.8, 2)
        runs.append(([p.tolist() for p in params], aees.get_logs()))
    assert runs[0] == runs[1]


# 4. losses at or below zero


@pytest.mark.parametrize("kind", ["log", "relative"])
@given(losses=st.lists(st.floats(), min_size=1, max_size=25), data=st.data())
@settings(max_examples=60, deadline=None)
def test_no_sequence_of_losses_makes_it_unusable(kind, losses, data):
    params, optimizer = problem()
    modes = {
        "context_mode": data.draw(st.sampled_from(["none", "trend"])),
        "structured_control_mode": data.draw(st.sampled_from(["independent", "conditional", "joint"])),
        "reward_baseline": data.draw(st.sampled_from(["episode", "ema"])),
        "context_trend_epsilon_mode": data.draw(st.sampled_from(["absolute", "relative"])),
    }
    aees = AEES(optimizer, **ARMS, **modes, reward=kind)
    gradients = [p.grad for p in params]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step, loss in enumerate(losses):
            aees.step_start(step)
            if math.isfinite(loss):
                aees.step_end(loss)
            else:
                with pytest.raises(ValueError, match="finite"):
                    aees.step_end(loss)
            assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.05]
            assert all(p.grad is g for p, g in zip(params, gradients, strict=True))
        aees.step_start(len(losses))
        aees.step_end(1.0)
        aees.finalize()
    rewards = aees.get_logs()["episode_rewards"]
    assert all(-1 <= reward <= 1 for reward in rewards)
    finite = sum(map(math.isfinite, losses)) + 1
    assert len(rewards) == math.ceil(finite / 3)


def test_losses_below_zero_warn_once_under_log_and_never_under_relative():
    for kind, times in (("log", 1), ("relative", 0)):
        _, optimizer = problem()
        aees = AEES(optimizer, **always(episode_length=2), reward=kind)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for step in range(8):
                one_step(aees, -float(step), step)
        assert len(caught) == times
        assert all(reward > 0 for reward in aees.get_logs()["episode_rewards"]), "the loss fell all along"


def test_a_reward_of_ones_own_scores_and_may_fail_without_locking():
    class Own:
        def compute(self, summary):
            if summary.loss_end > 5:
                raise OverflowError("too much")
            return summary.loss_start

    _, optimizer = problem()
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    aees = AEES(optimizer, **always(episode_length=1), reward=Own(), lr_scheduler=schedule)
    one_step(aees, 3.0)
    with pytest.raises(OverflowError):
        one_step(aees, 6.0, 1)
    assert optimizer.param_groups[0]["lr"] == 0.025, "the weights have moved, so the schedule has"
    one_step(aees, 4.0, 2)
    assert aees.get_logs()["episode_rewards"] == [3.0, 4.0]
    with pytest.raises(TypeError, match="compute"):
        AEES(optimizer, reward=3)
    with pytest.raises(ValueError, match="reward must be one of"):
        AEES(optimizer, reward="absolute")


# 6. seeds


def test_without_a_seed_parameters_and_runs_have_noise_of_their_own():
    ends = []
    for _ in range(2):
        params = [nn.Parameter(torch.zeros(4)) for _ in range(2)]
        for p in params:
            p.grad = torch.zeros(4)
        aees = AEES(torch.optim.SGD(params, lr=1.0), noise_candidates=(1.0,))
        one_step(aees)
        ends += [tuple(p.tolist()) for p in params]
        again = AEES(torch.optim.SGD(params, lr=1.0), noise_candidates=(1.0,), seed=aees.state_dict()["seed"])
        assert again.state_dict()["seed"] == aees.state_dict()["seed"]
    assert len(set(ends)) == 4


def test_the_global_random_stream_is_left_alone():
    _, optimizer = problem()
    before = torch.get_rng_state()
    aees = AEES(optimizer, **ARMS)
    for step in range(9):
        one_step(aees, 1.0, step)
    assert torch.equal(before, torch.get_rng_state())


# 7. tensor learning rates


def test_a_tensor_learning_rate_is_filled_in_place_once_even_if_groups_share_it():
    rate = torch.tensor(0.25)
    params, _ = problem()
    seen = []

    class Recording(torch.optim.SGD):
        def step(self, closure=None):
            seen.extend(float(group["lr"]) for group in self.param_groups)
            return super().step(closure)

    optimizer = Recording([{"params": [p]} for p in params], lr=rate, foreach=False)
    shared = optimizer.param_groups[0]["lr"]
    optimizer.param_groups[1]["lr"] = shared
    one_step(AEES(optimizer, **always(2.0)))
    assert seen == [0.5, 0.5]
    assert all(group["lr"] is shared for group in optimizer.param_groups)
    assert shared == 0.25


# 8. schedulers, closures, sparse gradients, scalers


def test_reduce_on_plateau_is_stepped_with_the_metrics_when_there_are_some():
    _, optimizer = problem()
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    aees = AEES(optimizer, **always(), lr_scheduler=schedule)
    one_step(aees, 1.0, 0, metrics=1.0)
    one_step(aees, 1.0, 1)
    assert optimizer.param_groups[0]["lr"] == 0.1
    one_step(aees, 1.0, 2, metrics=torch.tensor(2.0))
    assert optimizer.param_groups[0]["lr"] == 0.05


def test_metrics_for_a_scheduler_that_takes_none_are_refused_before_anything_moves():
    params, optimizer = problem()
    aees = AEES(optimizer, **always(), lr_scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 1))
    before = params[0].detach().clone()
    aees.step_start(0)
    with pytest.raises(ValueError, match="metrics must be None"):
        aees.step_end(1.0, metrics=1.0)
    assert torch.equal(before, params[0])


def test_lbfgs_runs_through_a_closure_and_finds_the_minimum():
    weight = nn.Parameter(torch.tensor([3.0, -2.0]))
    optimizer = torch.optim.LBFGS([weight], lr=0.5, max_iter=4)
    aees = AEES(optimizer, **always(2.0))

    def closure():
        optimizer.zero_grad()
        loss = (weight - 1).pow(2).sum()
        loss.backward()
        return loss

    for step in range(4):
        one_step(aees, closure().item(), step, closure=closure)
    assert weight.tolist() == pytest.approx([1.0, 1.0], abs=1e-5)


def test_a_closure_and_a_plain_step_take_the_same_noise_and_leave_clean_gradients():
    ends = []
    for with_closure in (False, True):
        params, optimizer = problem()
        aees = AEES(optimizer, **always(noise=0.5))

        def closure(optimizer=optimizer, params=params):
            optimizer.zero_grad()
            loss = sum(p.pow(2).sum() for p in params) / 2
            loss.backward()
            return loss

        for step in range(3):
            clean = [p.detach().clone() for p in params]
            closure()
            one_step(aees, 1.0, step, closure=closure if with_closure else None)
            assert all(torch.equal(p.grad, c) for p, c in zip(params, clean, strict=True))
        ends.append([p.tolist() for p in params])
    assert ends[0] == ends[1]


def test_every_evaluation_within_a_step_takes_the_same_noise():
    weight = nn.Parameter(torch.zeros(3))
    seen = []

    class Twice(torch.optim.SGD):
        def step(self, closure=None):
            for _ in range(2):
                closure()
                seen.append(weight.grad.tolist())

    def closure():
        weight.grad = torch.zeros(3)
        return torch.tensor(1.0)

    aees = AEES(Twice([weight], lr=0.1), **always(noise=1.0))
    one_step(aees, closure=closure)
    one_step(aees, 1.0, 1, closure=closure)
    assert seen[0] == seen[1] != seen[2] == seen[3]


def test_sparse_gradients_take_noise_on_the_rows_they_hold():
    table = nn.Embedding(6, 2, sparse=True)
    optimizer = torch.optim.SparseAdam(table.parameters(), lr=0.1)
    before = table.weight.detach().clone()
    aees = AEES(optimizer, **always(noise=0.3))
    table(torch.tensor([1, 4, 1])).sum().backward()
    gradient = table.weight.grad
    one_step(aees)
    moved = (table.weight.detach() != before).any(1)
    assert moved.tolist() == [False, True, False, False, True, False]
    assert table.weight.grad is gradient


@pytest.mark.parametrize("unscaled", [False, True])
def test_a_scaler_unscales_before_the_noise_and_an_overflow_is_no_step(unscaled):
    ends, scaler = [], torch.amp.GradScaler("cpu", init_scale=1024.0)
    for scaling in (False, True):
        weight = nn.Parameter(torch.tensor([1.0, 2.0]))
        optimizer = torch.optim.SGD([weight], lr=0.1)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.9)
        aees = AEES(optimizer, **{**ARMS, "noise_candidates": (0.0, 0.5)}, lr_scheduler=schedule)
        for step in range(6):
            aees.step_start(step)
            optimizer.zero_grad()
            loss = weight.pow(2).sum()
            if not scaling:
                loss.backward()
                aees.step_end(loss)
                continue
            scaler.scale(loss).backward()
            if unscaled:
                scaler.unscale_(optimizer)
            aees.step_end(loss, scaler=scaler)
            scaler.update()
        ends.append((weight.tolist(), aees.get_logs(), schedule.get_last_lr()))
    assert ends[0] == ends[1]
    optimizer.zero_grad()
    before, logs = weight.detach().clone(), aees.get_logs()
    aees.step_start(6)
    scaler.scale(weight.sum() * 1e38).backward()
    aees.step_end(1.0, scaler=scaler)
    scaler.update()
    assert torch.equal(weight, before)
    assert (aees.get_logs(), schedule.get_last_lr()) == (logs, ends[1][2])
    assert aees.current_candidate is None


def test_once_a_scaler_was_there_it_must_be_passed_and_goes_with_no_closure():
    weight = nn.Parameter(torch.ones(2))
    aees = AEES(torch.optim.SGD([weight], lr=0.1), **always())
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    aees.step_start(0)
    scaler.scale(weight.sum()).backward()
    with pytest.raises(ValueError, match="closure must be None"):
        aees.step_end(1.0, scaler=scaler, closure=lambda: 1.0)
    aees.step_end(1.0, scaler=scaler)
    scaler.update()
    aees.step_start(1)
    with pytest.raises(RuntimeError, match="scaler must be passed again"):
        aees.step_end(1.0)


def test_a_fused_optimizer_that_skips_inside_is_not_scored():
    weight = nn.Parameter(torch.ones(2))
    try:
        optimizer = torch.optim.AdamW([weight], lr=0.1, fused=True)
        weight.grad = torch.zeros(2)
        optimizer.step()
    except RuntimeError:
        pytest.skip("this torch has no fused AdamW on the CPU")
    aees = AEES(optimizer, **always(noise=0.1, episode_length=1))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    aees.step_start(0)
    weight.grad = None
    scaler.scale(weight.sum() * 1e38).backward()
    before = weight.detach().clone()
    aees.step_end(1.0, scaler=scaler)
    scaler.update()
    assert torch.equal(weight, before)
    assert aees.get_logs()["episode_rewards"] == []


# 9. clean gradients


def test_gradients_are_as_the_backward_left_them_so_accumulation_is_safe():
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    aees = AEES(optimizer, **always(noise=1.0))
    for step in range(3):
        aees.step_start(step)
        weight.sum().backward()
        storage = weight.grad
        aees.step_end(1.0)
        assert weight.grad is storage
        assert torch.equal(weight.grad, torch.full((3,), step + 1.0))


# 10. what is logged, what is accepted


def test_end_steps_are_the_steps_that_were_passed():
    _, optimizer = problem()
    aees = AEES(optimizer, **always(episode_length=2))
    one_step(aees, 1.0, 100)
    one_step(aees, 1.0, 500)
    assert aees.get_logs()["episode_start_steps"] == [100]
    assert aees.get_logs()["episode_end_steps"] == [500]


@pytest.mark.parametrize("axis", ["lr_candidates", "noise_candidates"])
@pytest.mark.parametrize("bad", [[math.nan, 1.0], [math.inf], [1.0, 2.0, 1.0], [1, 1.0], ["1"]])
def test_candidates_that_are_no_numbers_or_there_twice_are_refused(axis, bad):
    with pytest.raises((ValueError, TypeError)):
        AEES(problem()[1], **{axis: bad})


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("episode_length", 2.5), ("episode_length", True), ("seed", 1.5), ("log_limit", 0), ("on_nonfinite", "stop"),
        ("reward_baseline", "mean"), ("context_trend_epsilon_mode", "x"), ("context_trend_epsilon", math.nan),
        ("reward_epsilon", math.nan), ("reward_instability_lambda", math.inf), ("reward_clip_min", math.nan),
        ("reward_clip_max", math.inf), ("ema_alpha", math.nan),
    ],
)  # fmt: skip
def test_settings_outside_their_intervals_are_refused(name, bad):
    with pytest.raises((ValueError, TypeError)):
        AEES(problem()[1], **{name: bad})


@pytest.mark.parametrize("bad", [1.5, "0", True, None])
def test_a_step_number_is_an_integer(bad):
    with pytest.raises(TypeError, match="global_step"):
        AEES(problem()[1]).step_start(bad)


# neutral settings


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW, torch.optim.Adagrad])
def test_one_times_and_no_noise_is_the_bare_optimizer_to_the_bit(kind):
    ends = []
    for wrapped in (False, True):
        params, optimizer = problem(kind)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        aees = AEES(optimizer, lr_scheduler=schedule, episode_length=2, track_update_norm=True)
        for step in range(7):
            for p in params:
                p.grad = p.detach() - 1
            if wrapped:
                one_step(aees, 1.0, step)
            else:
                optimizer.step()
                schedule.step()
        ends.append([p.tolist() for p in params])
    assert ends[0] == ends[1]


def test_rates_are_multiplied_within_the_step_and_their_own_after_it():
    seen = []

    class Recording(torch.optim.SGD):
        def step(self, closure=None):
            seen.append([group["lr"] for group in self.param_groups])
            return super().step(closure)

    _, optimizer = problem(Recording)
    one_step(AEES(optimizer, **always(2.0)))
    assert seen == [[0.2, 0.1]]
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.05]


def test_logs_are_bounded_and_saved_as_json_lines(tmp_path):
    _, optimizer = problem()
    aees = AEES(optimizer, **{**ARMS, "episode_length": 1}, log_limit=3)
    for step in range(9):
        one_step(aees, 1.0, step)
    assert aees.get_logs()["episode_end_steps"] == [6, 7, 8]
    aees.save_logs(tmp_path / "logs.jsonl")
    assert len((tmp_path / "logs.jsonl").read_text().splitlines()) == 3


def test_repr_shows_the_candidate_and_each_arms_estimate():
    _, optimizer = problem()
    aees = AEES(optimizer, **ARMS)
    aees.step_start(0)
    assert aees.current_candidate.name in repr(aees)
    assert "lr0.5=?" in repr(aees)
    aees.step_end(1.0)
    aees.finalize()
    assert "lr0.5=+0.000" in repr(aees) or "lr1=+0.000" in repr(aees) or "lr2=+0.000" in repr(aees)
    assert "noise: n0" in repr(aees)
    assert "joint: lr0.5_n0=?" in repr(AEES(optimizer, **ARMS, structured_control_mode="joint"))
    assert "nothing to choose" in repr(AEES(optimizer))
    assert "lr0.5 lr1 lr2" in repr(AEES(optimizer, **ARMS, control_mode="random"))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda whole: pickle.loads(pickle.dumps(whole))])
def test_copies_and_pickles_go_on_alike(clone):
    params, optimizer = problem()
    aees = AEES(optimizer, **ARMS)
    for step in range(4):
        one_step(aees, 1.0, step)
    twin, twin_params = clone((aees, params))
    for _ in pairwise(range(7)):
        step += 1
        for whole, weights in ((aees, params), (twin, twin_params)):
            for p in weights:
                p.grad = p.detach().clone()
            one_step(whole, 1.0 / step, step)
    assert [p.tolist() for p in params] == [p.tolist() for p in twin_params]
    assert aees.get_logs() == twin.get_logs()


def test_the_reward_of_release_0_1_0_can_be_passed_as_an_object():
    _, optimizer = problem()
    one, two = (
        AEES(optimizer, **always(episode_length=2), reward=r) for r in ("log", NormalizedLossImprovementReward())
    )
    for aees in (one, two):
        one_step(aees, 2.0)
        one_step(aees, 1.0, 1)
    assert one.get_logs() == two.get_logs()


def test_a_step_without_a_scaler_flag_did_not_overflow():
    assert OptimizerStep(problem()[1], None, None).end()


def test_rows_that_an_embedding_keeps_at_zero_can_stay_there():
    for spared in (True, False):
        table = nn.Embedding(6, 2, padding_idx=0)
        optimizer = torch.optim.SGD(table.parameters(), lr=0.1)
        aees = AEES(optimizer, **always(noise=0.3), noise_on_zeros=not spared)
        table(torch.tensor([0, 1, 4])).sum().backward()
        before = table.weight.detach().clone()
        one_step(aees)
        moved = (table.weight.detach() != before).any(1).tolist()
        assert moved == ([False, True, False, False, True, False] if spared else [True] * 6)


def test_shared_streams_resume_to_the_bit():
    def train(aees, params, steps):
        for step in steps:
            one_step(aees, 1.0, step)

    settings = {**ARMS, "noise_candidates": (0.1,), "noise_streams": "shared"}
    (params, optimizer), (others, other) = problem(), problem()
    whole, first = AEES(optimizer, **settings), AEES(other, **settings)
    train(whole, params, range(7))
    train(first, others, range(4))
    second = AEES(other, **{**settings, "seed": 4})
    second.load_state_dict(first.state_dict())
    train(second, others, range(4, 7))
    assert all(map(torch.equal, params, others))


@pytest.mark.parametrize(("name", "bad"), [("noise_streams", "one"), ("read_losses", "never"), ("anneal_share", 2.0)])
def test_new_settings_outside_their_choices_are_refused(name, bad):
    with pytest.raises(ValueError, match=name):
        AEES(problem()[1], **{name: bad})


def test_annealing_goes_with_arms_too():
    _, optimizer = problem()
    aees = AEES(optimizer, **always(2.0), total_training_steps=10, anneal_share=0.5)
    factors = []
    for step in range(12):
        factors.append(aees.step_start(step).lr_multiplier)
        aees.step_end(1.0)
    assert factors == pytest.approx([2.0] * 6 + [1.6, 1.2, 0.8, 0.4, 0.4, 0.4])
    assert optimizer.param_groups[0]["lr"] == 0.1
