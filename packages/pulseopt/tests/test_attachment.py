"""Hooks inside somebody else's loop: the same machine as step_start and step_end."""

import math
import warnings

import pytest
import torch
from pulseopt import AEES
from torch import nn

ARMS = {"lr_candidates": (0.5, 1.0, 2.0), "noise_candidates": (0.0, 0.1), "episode_length": 3, "seed": 0}


def parts(**options):
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    return weight, optimizer, AEES(optimizer, **{**ARMS, **options})


def run(how, steps=14):
    weight, optimizer, aees = parts()
    if how != "owned":
        aees.attach()
    for step in range(steps):
        loss = weight.detach().pow(2).sum()
        weight.grad = weight.detach().clone()
        if how == "owned":
            aees.step_start(step)
            aees.step_end(loss)
        elif how == "before":
            aees.observe(loss)
            optimizer.step()
        elif how == "after":
            optimizer.step()
            assert aees.awaiting_loss
            aees.observe(loss)
        else:
            for _ in range(3):
                aees.observe(loss)
            optimizer.step()
    aees.finalize()
    return weight.tolist(), aees.get_logs()


@pytest.mark.parametrize("how", ["before", "after", "three equal losses"])
def test_attached_is_owned_to_the_bit(how):
    assert run(how)[0] == run("owned")[0]
    if how != "three equal losses":
        assert run(how) == run("owned")


def test_rates_and_gradients_are_their_own_between_steps():
    weight, optimizer, aees = parts(lr_candidates=(2.0,), noise_candidates=(0.5,))
    aees.attach()
    weight.grad = gradient = torch.ones(2)
    optimizer.step()
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert weight.grad is gradient


def test_a_closure_gets_its_noise_after_each_call():
    ends = []
    for closed in (False, True):
        weight, optimizer, aees = parts(lr_candidates=(2.0,), noise_candidates=(0.5,))
        aees.attach()

        def closure(weight=weight, optimizer=optimizer):
            optimizer.zero_grad()
            loss = weight.pow(2).sum()
            loss.backward()
            return loss

        for _ in range(3):
            if closed:
                assert optimizer.step(closure=closure) is not None
                assert optimizer.step(closure) is not None
            else:
                for _ in range(2):
                    closure()
                    optimizer.step()
        ends.append(weight.tolist())
    assert ends[0] == ends[1]


def test_a_closure_that_raises_leaves_rates_as_they_were():
    _, optimizer, aees = parts(lr_candidates=(2.0,))
    aees.attach()

    def closure():
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        optimizer.step(closure)
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_a_step_that_raised_is_undone_at_the_next_one():
    class Failing(torch.optim.SGD):
        fails = True

        def step(self, closure=None):
            if self.fails:
                raise RuntimeError("no")
            return super().step(closure)

    weight = nn.Parameter(torch.ones(1))
    optimizer = Failing([weight], lr=0.1)
    aees = AEES(optimizer, lr_candidates=(2.0,)).attach()
    weight.grad = torch.ones(1)
    with pytest.raises(RuntimeError):
        optimizer.step()
    optimizer.fails = False
    optimizer.step()
    assert weight.item() == pytest.approx(0.8)
    assert optimizer.param_groups[0]["lr"] == 0.1
    aees.detach()


def test_detaching_leaves_the_optimizer_as_it_was_and_attaching_again_goes_on():
    weight, optimizer, aees = parts(lr_candidates=(2.0,), noise_candidates=(0.0,))
    aees.attach()
    weight.grad = torch.ones(2)
    optimizer.step()
    aees.detach()
    aees.detach()
    before = weight.detach().clone()
    optimizer.step()
    assert torch.allclose(weight, before - 0.1)
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks
    aees.attach()
    assert aees.awaiting_loss
    aees.observe(1.0)


def test_a_step_whose_loss_never_came_is_not_scored():
    weight, optimizer, aees = parts(episode_length=1)
    aees.attach()
    weight.grad = torch.ones(2)
    optimizer.step()
    optimizer.step()
    aees.observe(1.0)
    assert aees.get_logs()["episode_end_steps"] == [1]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_scores_nothing(bad):
    weight, optimizer, aees = parts(episode_length=1)
    aees.attach()
    weight.grad = torch.ones(2)
    with pytest.raises(ValueError, match="finite"):
        aees.observe(bad)
    aees.observe(torch.tensor(bad))
    before = weight.detach().clone()
    with pytest.raises(ValueError, match="finite"):
        optimizer.step()
    assert torch.equal(weight, before), "it raised before anything moved"
    optimizer.step()
    with pytest.raises(ValueError, match="finite"):
        aees.observe(bad)
    optimizer.step()
    aees.observe(1.0)
    assert aees.get_logs()["episode_end_losses"] == [1.0]


def test_skipping_non_finite_losses_takes_the_step_and_scores_nothing():
    weight, optimizer, aees = parts(episode_length=1, on_nonfinite="skip")
    aees.attach()
    weight.grad = torch.ones(2)
    for loss in (math.nan, torch.tensor(math.inf)):
        aees.observe(loss)
        optimizer.step()
    optimizer.step()
    aees.observe(math.nan)
    aees.observe(1.0)
    optimizer.step()
    assert aees.get_logs()["episode_end_losses"] == [1.0]


def test_the_methods_of_the_other_way_are_refused_at_the_wrong_moment():
    _, optimizer, aees = parts()
    with pytest.raises(RuntimeError, match="must follow attach"):
        aees.observe(1.0)
    aees.step_start(0)
    with pytest.raises(RuntimeError, match="between steps"):
        aees.attach()
    aees.step_skip()
    aees.attach()
    for call in (lambda: aees.step_start(0), lambda: aees.step_end(1.0), aees.step_skip):
        with pytest.raises(RuntimeError, match="while attached"):
            call()
    with pytest.raises(RuntimeError, match="called once"):
        aees.attach()
    with pytest.raises(TypeError, match="number"):
        aees.observe("1")
    assert len(optimizer._optimizer_step_pre_hooks) == 1


@pytest.mark.parametrize("cut", range(8))
@pytest.mark.parametrize("before", [True, False])
def test_an_attached_run_resumes_to_the_bit(cut, before):
    def train(weight, optimizer, aees, steps):
        for step in steps:
            weight.grad = weight.detach().clone()
            if not before:
                optimizer.step()
            aees.observe(2.0 / (step + 1))
            if before:
                optimizer.step()

    whole = parts()
    whole[2].attach()
    train(*whole, range(8))
    first, second = parts(), parts(seed=5)
    first[2].attach()
    train(*first, range(cut))
    second[0].detach().copy_(first[0])
    state = first[2].state_dict()
    if cut % 2:
        second[2].attach().load_state_dict(state)
    else:
        second[2].load_state_dict(state)
        second[2].attach()
    train(*second, range(cut, 8))
    assert second[0].tolist() == whole[0].tolist()
    assert second[2].get_logs() == whole[2].get_logs()


def test_a_gradscaler_overflow_runs_no_hook():
    weight, optimizer, aees = parts(noise_candidates=(0.0,), lr_candidates=(1.0,), episode_length=1)
    aees.attach()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for factor in (1.0, 1e38, 1.0):
        optimizer.zero_grad()
        loss = weight.pow(2).sum()
        scaler.scale(loss * factor).backward()
        aees.observe(loss)
        scaler.step(optimizer)
        scaler.update()
    assert aees.get_logs()["episode_end_steps"] == [0, 1]


def test_an_attached_copy_is_attached_itself():
    import copy

    weight, optimizer, aees = parts()
    aees.attach()
    twin_weight, twin_optimizer, twin = copy.deepcopy((weight, optimizer, aees))
    for w, o, a in ((weight, optimizer, aees), (twin_weight, twin_optimizer, twin)):
        for _ in range(7):
            w.grad = w.detach().clone()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                o.step()
            a.observe(1.0)
    assert weight.tolist() == twin_weight.tolist()
    assert aees.get_logs() == twin.get_logs()


@pytest.mark.parametrize("gradient", [0.0, 1.0])
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("how", ["attached", "owned"])
def test_a_step_whose_base_rate_is_zero_changes_nothing_and_counts_nothing(gradient, before, how):
    weight, optimizer, aees = parts(lr_candidates=(2.0,), noise_candidates=(0.5,), episode_length=1)
    start, streams = weight.detach().clone(), aees.state_dict()["noise"]
    weight.grad = torch.full((2,), gradient)
    if how == "attached":
        aees.attach()
    for rate, loss in ((0.0, 7.0), (0.1, 1.0)):
        optimizer.param_groups[0]["lr"] = rate
        if how == "owned":
            aees.step_start(0)
            aees.step_end(loss)
        elif gradient == 0.0 and rate == 0.0:
            optimizer.step()  # torch.distributed.checkpoint's: no loss comes with it
        elif before:
            aees.observe(loss)
            optimizer.step()
        else:
            optimizer.step()
            aees.observe(loss)
        if rate == 0.0:
            assert torch.equal(weight, start)
            assert aees.state_dict()["noise"] == streams == {}
            assert aees.get_logs()["episode_end_losses"] == []
    assert aees.get_logs()["episode_end_losses"] == [1.0]


def test_a_loss_that_never_comes_is_an_error_after_an_episodes_length():
    weight, optimizer, aees = parts(episode_length=4)
    aees.attach()
    weight.grad = torch.ones(2)
    for _ in range(5):
        optimizer.step()
    before = weight.detach().clone()
    with pytest.raises(RuntimeError, match=r"last 5 steps had none.*call aees\.observe"):
        optimizer.step()
    assert torch.equal(before, weight)
    optimizer.step()
    aees.observe(1.0)
    single = parts(lr_candidates=(2.0,), noise_candidates=(0.0,), episode_length=2)
    single[2].attach()
    single[0].grad = torch.ones(2)
    for _ in range(9):
        single[1].step()  # one candidate: there is nothing to learn


@pytest.mark.parametrize("tensor", [True, False])
def test_losses_observed_for_a_step_to_come_are_saved(tensor):
    (w, whole_optimizer, whole), (_, _, first), (w2, second_optimizer, second) = (
        parts(episode_length=1) for _ in "123"
    )
    losses = [torch.tensor(0.25), torch.tensor(0.75)] if tensor else [0.25, 0.75]
    for aees in (whole, first, second):
        aees.attach()
    for aees in (whole, first):
        aees.observe(losses[0])
    second.load_state_dict(first.state_dict())
    for weight, optimizer, aees in ((w, whole_optimizer, whole), (w2, second_optimizer, second)):
        weight.grad = torch.ones(2)
        aees.observe(losses[1])
        optimizer.step()
    assert torch.equal(w, w2)
    assert second.get_logs() == whole.get_logs()
    assert second.get_logs()["episode_end_losses"] == [0.5]


def test_an_optimizer_has_one_controller():
    _, optimizer, first = parts()
    second = AEES(optimizer, **ARMS)
    first.attach()
    with pytest.raises(RuntimeError, match=r"another AEES is attached to this one; call its detach\(\) first"):
        second.attach()
    first.detach()
    assert second.attach() is second


def test_what_is_no_optimizer_is_refused():
    with pytest.raises(TypeError, match=r"must be a torch\.optim\.Optimizer or one that wraps it, got a Linear"):
        AEES(nn.Linear(2, 2))
