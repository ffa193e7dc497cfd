"""AdaptiveModeAdamW and AdaptiveModeSGD: what the kit does not ask."""

import io

import pytest
import torch
from pulseopt import AdaptiveModeAdamW, AdaptiveModeSGD, CandidateConfig
from torch import nn

KINDS = [AdaptiveModeAdamW, AdaptiveModeSGD]
NOISY = CandidateConfig("noisy", 2.0, 0.1)


def run(optimizer, weight, steps):
    for _ in range(steps):
        weight.grad = weight.detach().clone()
        optimizer.step()


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_of_a_noisy_step_loads_and_goes_on_to_the_bit(kind):
    weight, again = nn.Parameter(torch.ones(3)), nn.Parameter(torch.zeros(3))
    optimizer, other = kind([weight], lr=0.1, mode=NOISY, noise_seed=3), kind([again], lr=0.5)
    run(optimizer, weight, 4)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    again.detach().copy_(weight)
    assert other.compute_update_norm() == optimizer.compute_update_norm()
    run(optimizer, weight, 3)
    run(other, again, 3)
    assert torch.equal(weight, again)


@pytest.mark.parametrize("kind", KINDS)
def test_a_scheduler_step_between_step_and_save_is_not_lost(kind):
    weight = nn.Parameter(torch.ones(2))
    optimizer = kind([weight], lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    run(optimizer, weight, 1)
    schedule.step()
    other = kind([weight], lr=0.3)
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["lr"] == 0.05
    assert optimizer.state_dict()["base_lrs"] == optimizer.state_dict()["scheduled_base_lrs"] == [0.05]


@pytest.mark.parametrize("kind", KINDS)
def test_a_plain_optimizers_state_loads(kind):
    weight = nn.Parameter(torch.ones(2))
    plain = kind.__mro__[2]([weight], lr=0.2)
    run(plain, weight, 2)
    ours = kind([weight], lr=0.1, mode=NOISY)
    ours.load_state_dict(plain.state_dict())
    assert ours.param_groups[0]["lr"] == 0.2
    assert ours.state_dict()["mode"]["name"] == "base"
    assert ours.compute_update_norm() is None


def test_lists_of_the_wrong_length_are_refused_before_anything_changes():
    weight = nn.Parameter(torch.ones(2))
    optimizer = AdaptiveModeSGD([weight], lr=0.1)
    state = optimizer.state_dict()
    state["param_groups"][0]["lr"] = 0.9
    with pytest.raises(ValueError, match="base_lrs length does not match"):
        optimizer.load_state_dict({**state, "base_lrs": [0.1, 0.2]})
    assert optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_hooks_run_once_even_after_the_plain_optimizer_was_built(kind):
    weight = nn.Parameter(torch.ones(2))
    run(kind.__mro__[2]([weight], lr=0.1), weight, 1)
    optimizer, calls = kind([weight], lr=0.1), []
    optimizer.register_step_pre_hook(lambda *_: calls.append("pre"))
    optimizer.register_step_post_hook(lambda *_: calls.append("post"))
    run(optimizer, weight, 1)
    assert calls == ["pre", "post"]


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_mode_it_is_the_plain_optimizer_to_the_bit(kind):
    one, two = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    settings = {"momentum": 0.9} if kind is AdaptiveModeSGD else {"weight_decay": 0.0}
    run(kind([one], lr=0.1, track_update_norm=False), one, 5)
    run(kind.__mro__[2]([two], lr=0.1, **settings), two, 5)
    assert torch.equal(one, two)


def test_without_the_norm_it_is_none_and_with_it_the_step_waits_for_nothing(monkeypatch):
    weight = nn.Parameter(torch.tensor([3.0, 4.0]))
    silent = AdaptiveModeSGD([weight], lr=0.1, track_update_norm=False)
    run(silent, weight, 1)
    assert silent.compute_update_norm() is None
    weight.detach().copy_(torch.tensor([3.0, 4.0]))
    loud = AdaptiveModeSGD([weight], lr=0.1)
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: pytest.fail("the step read the device"))
    run(loud, weight, 1)
    monkeypatch.undo()
    assert loud.compute_update_norm() == pytest.approx(0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mode_is_a_candidate(kind):
    with pytest.raises(TypeError, match="CandidateConfig"):
        kind([nn.Parameter(torch.ones(1))], lr=0.1, mode="fast")
    with pytest.raises(TypeError, match="noise_seed"):
        kind([nn.Parameter(torch.ones(1))], lr=0.1, noise_seed=0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_no_mode_is_the_optimizer_alone(kind):
    one, two = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = kind([one], lr=0.1, mode=NOISY, noise_seed=0)
    optimizer.set_mode(None)
    run(optimizer, one, 3)
    run(kind([two], lr=0.1), two, 3)
    assert torch.equal(one, two)
    assert optimizer.state_dict()["mode"]["name"] == "base"
