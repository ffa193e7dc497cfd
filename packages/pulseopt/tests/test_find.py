"""The search for a learning rate: laws, state, logs."""

import io
import math
from statistics import fmean

import pytest
import torch
from pulseopt import AEES, plot
from pulseopt._bandits.rate_search import RateSearch
from torch import nn

TOTAL = 60


def parts(seed=0, lr=0.01, kind=torch.optim.SGD, **options):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = kind(model.parameters(), lr=lr)
    return model, optimizer, AEES.find_rate(optimizer, TOTAL, seed=seed, **options)


def backward(model, step, scale=1.0):
    draw = torch.Generator().manual_seed(step)
    x = torch.randn(16, 5, generator=draw)
    model.zero_grad()
    loss = (model(x) - x.sum(1, keepdim=True)).pow(2).mean() * scale
    loss.backward()
    return loss


def train(trained, steps, attached=False, scale=1.0):
    model, optimizer, aees = trained
    for step in steps:
        loss = backward(model, step, scale)
        if attached:
            optimizer.step()
            aees.observe(loss)
        else:
            aees.step_start(step)
            aees.step_end(loss)


def weights(trained):
    return torch.cat([p.detach().reshape(-1) for p in trained[0].parameters()])


def test_the_search_starts_at_a_tenth_ignores_the_first_episode_and_ends_after_two_below():
    search = RateSearch(1000)
    assert search.multiplier == 0.1
    search.update(-1.0, 5)
    assert search.multiplier == 0.1
    for q, searching in ((1.0, True), (0.0, True), (1.0, True), (0.0, True), (0.0, False)):
        search.update(q, 10)
        assert search.searching is searching
    assert search.multiplier == pytest.approx(0.1 * 4 / math.sqrt(8))
    search.update(1.0, 20)
    assert search.multiplier == pytest.approx(0.1 * 4 / math.sqrt(8)), "a rate that has been found is held"


def test_a_search_may_have_nothing_to_compare():
    search = RateSearch(100)
    search.update(None, 5)
    search.update(None, 10)
    assert (search.multiplier, search.searching) == (0.1, True)


def cosine(g, u):
    """Minus the cosine of two tensors, in Python floats."""
    g, u = g.double().reshape(-1).tolist(), u.double().reshape(-1).tolist()
    return -math.fsum(a * b for a, b in zip(g, u, strict=True)) / (math.hypot(*g) * math.hypot(*u))


def test_each_tensor_counts_alike_whatever_its_size_and_scale():
    def measured(sizes, scales, rates):
        draw = torch.Generator().manual_seed(3)
        params = [nn.Parameter(torch.zeros(size)) for size in sizes]
        rows = [{"params": [p], "lr": rate} for p, rate in zip(params, rates, strict=True)]
        optimizer = torch.optim.SGD(rows, lr=0.1)
        aees = AEES.find_rate(optimizer, 100)
        grads = [[scale * torch.randn(size, generator=draw) for size, scale in zip(sizes, scales, strict=True)]
                 for _ in range(2)]  # fmt: skip
        for step, now in enumerate(grads):
            for p, grad in zip(params, now, strict=True):
                p.grad = grad.clone()
            aees.step_start(step)
            aees.step_end(1.0)
        expected = fmean(cosine(g, -old) for g, old in zip(grads[1], grads[0], strict=True))
        assert aees._step.alignment.item() == pytest.approx(expected, abs=1e-6)
        return aees._step.alignment.item()

    even = measured((7, 3, 500), (1.0, 1.0, 1.0), (0.1, 0.1, 0.1))
    assert measured((7, 3, 500), (1e4, 1.0, 1e-4), (1e-3, 0.1, 10.0)) == pytest.approx(even, abs=1e-6)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_measured_alignments_are_those_of_an_oracle(kind):
    trained = parts(kind=kind)
    model, _, aees = trained
    expected, before, seen = [], None, []
    for step in range(5):
        loss = backward(model, step)
        now = [p.detach().double() for p in model.parameters()]
        if before is not None:
            moved = zip(model.parameters(), now, before, strict=True)
            expected.append(fmean(cosine(p.grad, new - old) for p, new, old in moved))
        before = now
        aees.step_start(step)
        aees.step_end(loss)
        seen.append(aees._step.alignment)
    assert seen[0] is None
    assert [q.item() for q in seen[1:]] == pytest.approx(expected, abs=1e-5)
    assert aees.get_logs()["mean_alignments"] == [pytest.approx(fmean(expected), abs=1e-5)]


def test_a_rate_that_is_too_low_is_raised_and_one_that_is_too_high_is_lowered():
    low, high = parts(lr=1e-3), parts(lr=10.0)
    train(low, range(TOTAL))
    train(high, range(TOTAL))
    assert high[2].rate_multiplier < RateSearch(TOTAL).multiplier < low[2].rate_multiplier


@pytest.mark.parametrize("scale", [2.0**-20, 2.0**15])
def test_the_search_knows_no_scale_of_the_loss(scale):
    one, other = parts(kind=torch.optim.SGD), parts(kind=torch.optim.SGD, lr=0.01 / scale)
    train(one, range(30))
    train(other, range(30), scale=scale)
    assert torch.equal(weights(one), weights(other))
    assert one[2].get_logs()["mean_alignments"] == other[2].get_logs()["mean_alignments"]


@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize("cut", [0, 1, 4, 5, 7, 17, 20, 41, 58])
def test_it_resumes_to_the_bit(attached, cut):
    whole, first, second = parts(), parts(), parts(seed=9)
    for trained in (whole, first, second):
        if attached:
            trained[2].attach()
    train(whole, range(TOTAL), attached)
    train(first, range(cut), attached)
    file = io.BytesIO()
    torch.save([first[0].state_dict(), first[1].state_dict(), first[2].state_dict()], file)
    file.seek(0)
    for part, state in zip(second, torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    train(second, range(cut, TOTAL), attached)
    assert torch.equal(weights(second), weights(whole))
    assert second[2].get_logs() == whole[2].get_logs()


def test_attached_is_owned_to_the_bit_with_a_closure_too():
    owned, hooked, closed = parts(), parts(), parts()
    train(owned, range(TOTAL))
    hooked[2].attach()
    train(hooked, range(TOTAL), attached=True)
    closed[2].attach()
    for step in range(TOTAL):
        closed[2].observe(closed[1].step(lambda step=step: backward(closed[0], step)))
    assert torch.equal(weights(owned), weights(hooked))
    assert torch.equal(weights(owned), weights(closed))
    assert owned[2].get_logs() == hooked[2].get_logs() == closed[2].get_logs()


def test_the_copy_of_the_parameters_goes_when_the_search_is_over():
    trained = parts()
    train(trained, range(6))
    assert trained[2].state_dict()["last_update"]
    train(trained, range(6, TOTAL))
    assert trained[2].state_dict()["last_update"] == {}
    phases = trained[2].get_logs()["search_phases"]
    assert phases == sorted(phases, reverse=True)
    assert set(phases) == {"search", "hold"} or phases[-1] == "search"
    assert "holding lr" in repr(trained[2])


def test_its_logs_can_be_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="needs the plot extra")
    trained = parts()
    train(trained, range(TOTAL))
    trained[2].save_logs(tmp_path / "logs.jsonl")
    figure = plot.draw(plot.read_logs(tmp_path / "logs.jsonl"))
    assert [axes.get_ylabel() for axes in figure.axes] == ["mean alignment", "factor on the rate"]


def test_it_needs_the_length_of_the_run_and_one_candidate():
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1)
    with pytest.raises(ValueError, match="total_training_steps must be given"):
        AEES(optimizer, control_mode="find")
    with pytest.raises(ValueError, match="must have one lr_candidate"):
        AEES.find_rate(optimizer, 10, lr_candidates=(1.0, 2.0))
    with pytest.raises(ValueError, match="anneal_share"):
        AEES.find_rate(optimizer, 10, anneal_share=1.5)
    with pytest.raises(ValueError, match="total_training_steps"):
        AEES.find_rate(optimizer, 0)


def test_parameters_that_come_and_go_are_not_compared():
    trained = parts()
    model, _, aees = trained
    for step in range(TOTAL):
        loss = backward(model, step)
        if step % 3 == 0:
            model[0].weight.grad = None
        aees.step_start(step)
        aees.step_end(loss)
        assert (aees._step.alignment is None) == (step == 0 or step % 3 in (0, 1) or not aees._step.measures_alignment)


def arms(**options):
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = torch.optim.SGD([weight], lr=0.01)
    settings = {"lr_candidates": (0.5, 1.0, 2.0), "episode_length": 3, "seed": 0, **options}
    return weight, optimizer, AEES(optimizer, **settings)


def play(weight, aees, steps):
    for step in steps:
        aees.step_start(step)
        weight.grad = 2 * weight.detach()
        aees.step_end(weight.detach().pow(2).sum())


@pytest.mark.parametrize("reward", ["alignment", "standardised"])
@pytest.mark.parametrize("cut", [1, 3, 10])
def test_new_rewards_score_and_resume_to_the_bit(reward, cut):
    (w, _, whole), (w1, _, first), (w2, _, second) = (arms(reward=reward) for _ in range(3))
    play(w, whole, range(30))
    play(w1, first, range(cut))
    w2.detach().copy_(w1)
    second.load_state_dict(first.state_dict())
    play(w2, second, range(cut, 30))
    assert torch.equal(w, w2)
    assert second.get_logs() == whole.get_logs()
    assert all(-1 <= reward <= 1 for reward in whole.get_logs()["episode_rewards"])


def test_the_standardised_reward_knows_neither_scale_nor_usual_slope():
    logs = []
    for factor in (1.0, 2.0**30):
        aees = arms(reward="standardised")[2]
        for step in range(300):
            aees.step_start(step)
            aees.step_end(factor * (2.0 + math.sin(step) - 0.01 * step))
        logs.append(aees.get_logs()["episode_rewards"])
    assert logs[0] == logs[1]
    assert abs(fmean(logs[0][20:])) < 0.2


def test_an_alignment_reward_without_two_steps_says_so():
    with pytest.raises(ValueError, match="episode_length of at least 2"):
        play(*[arms(reward="alignment", episode_length=1)[i] for i in (0, 2)], range(1))


def test_travelling_factors_move_to_the_best_and_resume():
    (w, _, whole), (w1, _, first), (w2, _, second) = (
        arms(travel=4, exploration_coef=0.01, reward="relative") for _ in range(3)
    )
    play(w, whole, range(90))
    assert whole.rate_multiplier > 4.0, "on a quadratic at a low rate the highest factor is the best"
    values = whole.get_logs()["selected_lr_values"]
    assert max(values) > 4.0
    play(w1, first, range(31))
    w2.detach().copy_(w1)
    second.load_state_dict(first.state_dict())
    play(w2, second, range(31, 90))
    assert torch.equal(w, w2)
    assert second.get_logs() == whole.get_logs()


@pytest.mark.parametrize(
    "options",
    [
        {"lr_candidates": (0.5, 2.0)}, {"lr_candidates": (0.5, 1.0, 3.0)}, {"lr_candidates": (1.0,)}, {"travel": 0},
        {"control_mode": "random"}, {"context_mode": "trend"}, {"structured_control_mode": "joint"},
    ],
)  # fmt: skip
def test_factors_that_cannot_travel_are_refused(options):
    with pytest.raises(ValueError, match="travel"):
        arms(**{"travel": 4, **options})


@pytest.mark.parametrize("settings", [{}, {"noise_candidates": (0.0, 0.1)}, {"track_update_norm": True}])
@pytest.mark.parametrize("cut", [0, 4, 7])
def test_losses_read_at_the_end_of_an_episode_change_nothing_and_no_step_waits(settings, cut):
    class Reads(torch.utils._python_dispatch.TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.count += func is torch.ops.aten._local_scalar_dense.default
            return func(*args, **(kwargs or {}))

    (w, _, each), (w1, _, late), (w2, _, resumed) = (
        arms(**settings), arms(read_losses="episode", **settings), arms(read_losses="episode", **settings)
    )  # fmt: skip
    play(w, each, range(30))
    if not settings.get("track_update_norm"):
        for step in range(30):
            with Reads() as reads:
                play(w1, late, [step])
            assert reads.count == 0 or step % 3 == 2
    else:
        play(w1, late, range(30))
    assert torch.equal(w, w1)
    assert each.get_logs() == late.get_logs()
    half = arms(read_losses="episode", **settings)
    play(half[0], half[2], range(cut))
    w2.detach().copy_(half[0])
    resumed.load_state_dict(half[2].state_dict())
    play(w2, resumed, range(cut, 30))
    assert torch.equal(w, w2)
    assert resumed.get_logs() == each.get_logs()


def test_a_late_loss_that_is_not_finite_is_told_or_skipped():
    for skip in (True, False):
        weight, _, aees = arms(read_losses="episode", on_nonfinite="skip" if skip else "raise")
        weight.grad = torch.zeros(2)
        for step, loss in enumerate((1.0, math.nan, 0.5)):
            aees.step_start(step)
            if step == 2 and not skip:
                with pytest.raises(ValueError, match="must be finite"):
                    aees.step_end(torch.tensor(loss))
            else:
                aees.step_end(torch.tensor(loss))
        aees.finalize()
        assert aees.get_logs()["episode_end_losses"] == ([0.5] if skip else [])
