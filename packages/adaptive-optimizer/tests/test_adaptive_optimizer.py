"""The wrapper: equal to what it wraps without rules, transient with them, complete in its checkpoints."""

import copy
import pickle

import pytest
import torch
from adaptive_optimizer import AdaptiveOptimizer
from torch import nn
from torch.optim import LBFGS, SGD, Adam, AdamW, Optimizer, RMSprop
from torch.optim.optimizer import register_optimizer_step_pre_hook

ALL = {"lr_rule": "trend+variance+cosine", "wd_rule": "trend", "reward_rule": "trend+scaling+variance"}
BETAS = {"betas_rule": ("relative", "variance"), "beta_warmup": 3}


def model(seed=0):
    generator = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) / 2)
    return net


def data(step):
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(16, 4, generator=generator)
    return x, x.sum(dim=1, keepdim=True)


def train(net, opt, steps, start=0):
    losses = []
    for step in range(start, start + steps):
        x, y = data(step)
        loss = ((net(x) - y) ** 2).mean()
        opt.zero_grad()
        loss.backward()
        if isinstance(opt, AdaptiveOptimizer):
            opt.step_loss(loss)
            opt.step_reward(-loss.detach())
        opt.step()
        losses.append(loss.item())
    return losses


def same(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


@pytest.mark.parametrize(
    "make",
    [
        lambda p: AdamW(p, lr=0.01),
        lambda p: SGD(p, lr=0.01, momentum=0.9, nesterov=True),
        lambda p: RMSprop(p, lr=0.01, momentum=0.5),
        lambda p: torch.optim.Adagrad(p, lr=0.01),
        lambda p: torch.optim.NAdam(p, lr=0.01),
    ],
)
def test_without_rules_it_is_the_bare_optimizer_to_the_bit(make):
    bare_net, net = model(), model()
    bare, opt = make(bare_net.parameters()), AdaptiveOptimizer(make(net.parameters()))
    assert train(bare_net, bare, 20) == train(net, opt, 20)
    assert same(list(bare_net.parameters()), list(net.parameters()))
    assert same(bare.state_dict(), opt.state_dict())
    bare.load_state_dict(opt.state_dict())
    opt.load_state_dict(bare.state_dict())


def test_what_it_shows_is_the_wrapped_optimizers_own():
    base = AdamW(model().parameters())
    opt = AdaptiveOptimizer(base, lr_rule="trend")
    assert isinstance(opt, Optimizer)
    assert opt.optimizer is base
    assert opt.param_groups is base.param_groups
    assert opt.state is base.state
    assert opt.defaults is base.defaults
    groups = copy.copy(base.param_groups)
    base.param_groups = groups
    assert opt.param_groups is groups
    opt.param_groups = groups = list(groups)
    assert base.param_groups is groups


def test_groups_hold_adapted_values_inside_the_step_only():
    opt = AdaptiveOptimizer(SGD(model().parameters(), lr=1.0), lr_rule="trend")
    seen = []
    opt.register_step_pre_hook(lambda base, args, kwargs: seen.append(base.param_groups[0]["lr"]))
    opt.step_loss(1.0)
    assert opt.lr == 0.999
    assert opt.param_groups[0]["lr"] == opt.base_lrs[0] == 1.0
    opt.step()
    assert seen == [0.999]
    assert opt.param_groups[0]["lr"] == 1.0
    assert opt.lr == 0.999


def test_factors_hold_without_a_new_loss():
    opt = AdaptiveOptimizer(SGD(model().parameters(), lr=1.0), lr_rule="trend")
    opt.step_loss(1.0)
    opt.step()
    opt.step()
    assert opt.lr == 0.999
    assert opt.factors["M"] == 0.999


def test_a_step_that_raises_leaves_base_values_and_the_clock():
    opt = AdaptiveOptimizer(SGD(model().parameters(), lr=1.0), lr_rule="trend+cosine")
    opt.register_step_pre_hook(lambda *_: 1 / 0)
    opt.step_loss(1.0)
    with pytest.raises(ZeroDivisionError):
        opt.step()
    assert opt.param_groups[0]["lr"] == 1.0
    assert opt.state_dict()["adaptive"]["controller"]["counters"]["step"] == 0


def test_a_value_written_between_loss_and_step_is_a_new_base():
    opt = AdaptiveOptimizer(AdamW(model().parameters(), lr=1.0), lr_rule="trend", wd_rule="trend")
    opt.step_loss(1.0)
    opt.param_groups[0]["lr"] = 5.0
    assert opt.base_lrs == [5.0]
    opt.step()
    assert opt.lr == 5.0 * 0.999
    assert opt.param_groups[0]["lr"] == 5.0


def test_ratios_between_groups_are_kept():
    first, second = model().parameters(), model().parameters()
    opt = AdaptiveOptimizer(SGD([{"params": first}, {"params": second, "lr": 0.1}], lr=1.0), lr_rule="trend")
    opt.step_loss(1.0)
    assert opt.lrs == pytest.approx([0.999, 0.0999])
    opt.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 3.0})
    assert opt.lrs == pytest.approx([0.999, 0.0999, 2.997])
    seen = []
    opt.register_step_pre_hook(lambda base, *_: seen.extend(group["lr"] for group in base.param_groups))
    opt.step()
    assert seen == pytest.approx([0.999, 0.0999, 2.997])
    assert [group["lr"] for group in opt.param_groups] == [1.0, 0.1, 3.0]


def test_a_tensor_learning_rate_is_filled_and_never_replaced():
    lr = torch.tensor(0.5)
    opt = AdaptiveOptimizer(AdamW(model().parameters(), lr=lr, capturable=False, foreach=False), lr_rule="trend")
    seen = []
    opt.register_step_pre_hook(lambda base, *_: seen.append((base.param_groups[0]["lr"] is lr, lr.item())))
    opt.step_loss(1.0)
    opt.step()
    assert seen == [(True, pytest.approx(0.5 * 0.999))]
    assert opt.param_groups[0]["lr"] is lr
    assert lr.item() == 0.5
    assert opt.lr == pytest.approx(0.5 * 0.999)
    opt.step_loss(1.0)
    lr.fill_(0.25)
    opt.step()
    assert lr.item() == 0.25
    assert opt.lr == pytest.approx(0.25 * 0.999**2)


def test_groups_that_share_a_tensor_learning_rate_get_it_back():
    shared = torch.tensor(0.5)
    groups = [{"params": [torch.nn.Parameter(torch.ones(2))]} for _ in range(3)]
    opt = AdaptiveOptimizer(AdamW(groups, lr=shared, foreach=False), lr_rule="trend")
    assert all(group["lr"] is shared for group in opt.param_groups)
    seen = []
    opt.register_step_pre_hook(lambda base, *_: seen.append(shared.item()))
    for _ in range(3):
        opt.step_loss(1.0)
        opt.step()
        assert shared.item() == 0.5
    assert seen == pytest.approx([0.5 * 0.999**n for n in (1, 2, 3)])


def test_limits_hold_for_a_tensor_learning_rate():
    opt = AdaptiveOptimizer(SGD(model().parameters(), lr=torch.tensor(0.5)), lr_rule="trend", min_lr=0.5)
    opt.step_loss(1.0)
    assert opt.lr == 0.5


@pytest.mark.parametrize("moment", ["after a step", "between loss and step"])
@pytest.mark.parametrize("at", [0, 1, 7])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_checkpoint_continues_to_the_bit(tmp_path, at, moment, accumulate):
    def make(net):
        base = AdamW(net.parameters(), lr=0.01, weight_decay=0.1)
        return AdaptiveOptimizer(base, **ALL, **BETAS, accumulate=accumulate)

    net = model()
    opt = make(net)
    train(net, opt, at)
    if moment == "between loss and step":
        opt.step_loss(1.25)
        opt.step_reward(0.5)
    torch.save({"net": net.state_dict(), "opt": opt.state_dict()}, tmp_path / "checkpoint.pt")
    rest = train(net, opt, 12, at)

    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    resumed_net = model(seed=1)
    resumed = make(resumed_net)
    resumed_net.load_state_dict(saved["net"])
    resumed.load_state_dict(saved["opt"])
    assert train(resumed_net, resumed, 12, at) == rest
    assert same(opt.state_dict(), resumed.state_dict())
    assert same(list(net.parameters()), list(resumed_net.parameters()))


def test_a_checkpoint_between_loss_and_step_holds_base_values():
    opt = AdaptiveOptimizer(SGD(model().parameters(), lr=1.0), lr_rule="trend")
    opt.step_loss(1.0)
    assert opt.state_dict()["param_groups"][0]["lr"] == opt.param_groups[0]["lr"] == 1.0
    assert opt.lr == 0.999


def test_a_bare_state_dict_is_accepted_and_starts_a_fresh_controller():
    net = model()
    bare = AdamW(net.parameters(), lr=0.3)
    train(net, bare, 3)
    opt = AdaptiveOptimizer(AdamW(net.parameters()), **ALL)
    train(net, opt, 3)
    opt.load_state_dict(bare.state_dict())
    assert opt.base_lrs == opt.lrs == [0.3]
    assert set(opt.factors.values()) == {1.0}


def test_the_bare_optimizer_accepts_our_state_dict():
    net = model()
    opt = AdaptiveOptimizer(AdamW(net.parameters(), lr=0.3), **ALL)
    train(net, opt, 3)
    bare = AdamW(net.parameters())
    bare.load_state_dict(opt.state_dict())
    assert bare.param_groups[0]["lr"] == 0.3


def test_a_checkpoint_of_another_release_or_a_torn_one_is_refused_before_anything_changes():
    net = model()
    opt = AdaptiveOptimizer(AdamW(net.parameters(), lr=0.3), **ALL)
    train(net, opt, 3)
    before = opt.state_dict()
    for broken in ({"version": 2}, {"version": 1, "controller": {}, "rules": {}}):
        with pytest.raises(ValueError, match="adaptive"):
            opt.load_state_dict({**AdamW(net.parameters(), lr=9.0).state_dict(), "adaptive": broken})
        assert same(opt.state_dict(), before)


def test_other_rules_than_those_of_the_checkpoint_are_noticed():
    opt = AdaptiveOptimizer(AdamW(model().parameters()), lr_rule="trend")
    opt.step_loss(1.0)
    opt.step()
    other = AdaptiveOptimizer(AdamW(model().parameters()), lr_rule="trend+variance", wd_rule="trend")
    with pytest.warns(UserWarning, match="the checkpoint was made with"):
        other.load_state_dict(opt.state_dict())
    assert other.factors["M"] == 0.999


def test_copies_and_pickles_go_on_alike_and_alone():
    net = model()
    opt = AdaptiveOptimizer(SGD(net.parameters(), lr=0.01, momentum=0.9), lr_rule="trend", momentum_rule="relative")
    torch.optim.lr_scheduler.StepLR(opt, 1)  # patches step
    train(net, opt, 4)
    opt.step_loss(0.5)
    twin_net, twin = copy.deepcopy((net, opt))
    third_net, third = pickle.loads(pickle.dumps((net, opt)))
    before = copy.deepcopy(list(net.parameters()))
    losses = train(twin_net, twin, 5, 4)
    assert same(before, list(net.parameters()))
    assert train(third_net, third, 5, 4) == losses
    assert train(net, opt, 5, 4) == losses
    assert same(third.state_dict(), opt.state_dict())


def test_hooks_are_called_once_a_step():
    calls = []
    opt = AdaptiveOptimizer(SGD(model().parameters(), lr=1.0), lr_rule="trend")
    handles = [
        opt.register_step_pre_hook(lambda *_: calls.append("pre")),
        opt.register_step_post_hook(lambda *_: calls.append("post")),
        register_optimizer_step_pre_hook(lambda *_: calls.append("global")),
        opt.register_state_dict_pre_hook(lambda *_: calls.append("save")),
        opt.register_state_dict_post_hook(lambda *_: calls.append("saved")),
        opt.register_load_state_dict_pre_hook(lambda *_: calls.append("load")),
        opt.register_load_state_dict_post_hook(lambda *_: calls.append("loaded")),
    ]
    opt.step()
    opt.load_state_dict(opt.state_dict())
    for handle in handles:
        handle.remove()
    opt.step()
    assert sorted(calls[:2]) == ["global", "pre"]
    assert calls[2:] == ["post", "save", "saved", "load", "loaded"]


def test_lbfgs_takes_closures_and_its_loss_counts_for_the_next_step():
    net = model()
    x, y = data(0)
    opt = AdaptiveOptimizer(LBFGS(net.parameters(), lr=0.5), lr_rule="trend")
    losses = []

    def closure():
        opt.zero_grad()
        loss = ((net(x) - y) ** 2).mean()
        loss.backward()
        return loss

    for _ in range(5):
        losses.append(opt.step(closure).item())
        assert opt.param_groups[0]["lr"] == 0.5
    assert losses[-1] < losses[0] / 10
    assert opt.state_dict()["adaptive"]["controller"]["losses"]["n"] == 5
    assert opt.factors["M"] > 1


def test_a_loss_given_inside_the_closure_acts_on_this_step_and_counts_once():
    net = model()
    opt = AdaptiveOptimizer(SGD(net.parameters(), lr=1.0), lr_rule="trend")
    opt.step_loss(1.0)
    opt.step()

    def closure():
        opt.step_loss(0.5)
        return torch.tensor(0.5)

    opt.step(closure)
    assert opt.lr == pytest.approx(0.999 * 1.02)
    assert opt.state_dict()["adaptive"]["controller"]["losses"]["n"] == 2


def test_accumulated_losses_count_as_their_mean():
    def rates(accumulate, losses):
        opt = AdaptiveOptimizer(SGD(model().parameters(), lr=1.0), lr_rule="trend", accumulate=accumulate)
        seen = []
        for loss in losses:
            for part in loss if isinstance(loss, tuple) else [loss]:
                opt.step_loss(part)
            opt.step()
            seen.append(opt.lr)
        return seen

    assert rates(2, [(1.0, 3.0), (0.5, 1.5), (4.0, 5.0)]) == rates(1, [2.0, 1.0, 4.5])
    assert rates(4, [(1.0, 3.0), (0.5, 1.5)]) == rates(1, [2.0, 1.0])  # the last, shorter window


@pytest.mark.parametrize("order", ["zero_grad first", "zero_grad after the loss", "zero_grad last"])
def test_an_overflow_step_of_gradscaler_advances_nothing(order):
    def run(overflows):
        net = model()
        opt = AdaptiveOptimizer(AdamW(net.parameters(), lr=0.01), **ALL, **BETAS)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 100)
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        for step in range(12):
            for overflow in [True, False] if step in overflows else [False]:
                x, y = data(step)
                if order == "zero_grad first":
                    opt.zero_grad()
                loss = ((net(x) - y) ** 2).mean()
                opt.step_loss(loss * 7 if overflow else loss)
                if order == "zero_grad after the loss":
                    opt.zero_grad()
                scaler.scale(loss * (float("inf") if overflow else 1)).backward()
                scaler.step(opt)
                scaler.update()
                if order == "zero_grad last":
                    opt.zero_grad()
            schedule.step()
        return opt, list(net.parameters())

    smooth, smooth_net = run(())
    rough, rough_net = run((2, 3, 9))
    assert same(rough.state_dict()["adaptive"], smooth.state_dict()["adaptive"])
    assert same(rough_net, smooth_net)


def test_a_delayed_loss_counts_one_step_later():
    losses = [3.0, 2.0, 2.5, 1.0, 1.5, 0.5, 0.4]

    def rates(delay):
        opt = AdaptiveOptimizer(SGD(model().parameters(), lr=1.0), lr_rule="trend+variance", loss_delay=delay)
        seen = []
        for step, loss in enumerate(losses):
            if step == 4:
                opt = copy.deepcopy(opt)
            opt.step_loss(torch.tensor(loss, dtype=torch.float64))
            opt.step()
            seen.append(opt.lr)
        return seen, [record["loss"] for record in opt.get_logs()]

    exact, delayed = rates(0), rates(1)
    assert delayed[0] == [1.0, *exact[0][:-1]]
    assert delayed[1] == [None, *losses[:-1]]


def test_a_delayed_loss_of_a_skipped_step_is_withdrawn_and_that_of_a_made_step_is_not():
    def run(skips):
        opt = AdaptiveOptimizer(SGD(model().parameters(), lr=1.0), lr_rule="trend", loss_delay=1)
        for step in range(10):
            opt.zero_grad()
            if step in skips:
                opt.step_loss(9.0)
                opt.zero_grad()
            opt.step_loss(1.0 + 0.1 * (step % 3))
            opt.step()
        return opt.state_dict()["adaptive"]

    assert run({0, 4, 5}) == run(())


def test_delayed_and_accumulated_losses_are_refused():
    with pytest.raises(ValueError, match="accumulate must be 1 where loss_delay is 1, got 2"):
        AdaptiveOptimizer(SGD(model().parameters(), lr=1.0), accumulate=2, loss_delay=1)


def test_a_schedule_that_goes_on_after_an_overflow_sees_base_values():
    def run(adapted):
        net = model()
        opt = AdaptiveOptimizer(AdamW(net.parameters(), lr=0.01), lr_rule="trend" if adapted else None)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 100, eta_min=1e-4)
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        for step in range(20):
            loss = net(data(step)[0]).mean() ** 2
            opt.step_loss(loss)
            scaler.scale(loss * (float("inf") if step % 3 == 2 else 1)).backward()
            scaler.step(opt)
            scaler.update()
            schedule.step()
            opt.zero_grad()
        return schedule.get_last_lr()

    assert run(adapted=True) == run(adapted=False)


def test_what_is_not_finite_backs_off_once_each_and_enters_no_statistic():
    def statistics(opt):
        return opt.state_dict()["adaptive"]["controller"]["losses"]

    opt = AdaptiveOptimizer(SGD(model().parameters(), lr=1.0), lr_rule="trend")
    opt.step_loss(1.0)
    opt.step()
    before = statistics(opt)
    seen = []
    for bad in (float("nan"), float("inf"), torch.tensor(float("-inf")), float("nan"), float("nan")):
        opt.step_loss(bad)
        opt.step()
        seen.append(opt.lr)
    assert seen == pytest.approx([0.999 / 2, 0.999 / 4, 0.999 / 8, 0.1, 0.1])
    assert statistics(opt) == before
    assert opt.nonfinite_losses == 5
    opt.step_reward(float("nan"))
    assert opt.nonfinite_rewards == 1
    assert opt.lr == 0.1


def test_ignore_counts_and_raise_raises_before_anything_changes():
    opt = AdaptiveOptimizer(SGD(model().parameters(), lr=1.0), lr_rule="trend", on_nonfinite="ignore")
    opt.step_loss(float("nan"))
    opt.step()
    assert (opt.lr, opt.nonfinite_losses) == (1.0, 1)
    opt = AdaptiveOptimizer(SGD(model().parameters(), lr=1.0), lr_rule="trend", on_nonfinite="raise")
    before = opt.state_dict()
    with pytest.raises(ValueError, match="loss must be finite, got nan"):
        opt.step_loss(float("nan"))
    with pytest.raises(ValueError, match="reward must be finite, got inf"):
        opt.step_reward(float("inf"))
    assert same(opt.state_dict(), before)


@pytest.mark.parametrize("loss", [torch.zeros(2), torch.zeros(1, 1), torch.zeros(0)])
def test_a_loss_of_another_shape_is_refused(loss):
    opt = AdaptiveOptimizer(Adam(model().parameters()), lr_rule="trend")
    with pytest.raises(ValueError, match=r"loss must be one number, of shape \(\) or \(1,\)"):
        opt.step_loss(loss)
    with pytest.raises(ValueError, match="reward must be one number"):
        opt.step_reward(loss)


@pytest.mark.parametrize("loss", ["1.0", None, [1.0], torch.tensor(1j), 1j])
def test_a_loss_that_is_no_real_number_is_refused(loss):
    opt = AdaptiveOptimizer(Adam(model().parameters()), lr_rule="trend")
    with pytest.raises(TypeError, match="loss must be a real number"):
        opt.step_loss(loss)


def test_the_graph_of_the_loss_is_left_alone():
    weight = nn.Parameter(torch.ones(()))
    opt = AdaptiveOptimizer(SGD([weight], lr=1.0), lr_rule="trend")
    loss = weight**2
    opt.step_loss(loss)
    loss.backward()
    assert weight.grad == 2


def test_integers_beyond_float64_count_as_infinite():
    opt = AdaptiveOptimizer(SGD(model().parameters(), lr=1.0), lr_rule="trend")
    opt.step_loss(10**400)
    assert opt.nonfinite_losses == 1


@pytest.mark.parametrize(
    "setting",
    [
        {"cycle_length": 0},
        {"cycle_mult": 0.5},
        {"cycle_floor": -0.1},
        {"loss_beta": 1.0},
        {"loss_beta": float("nan")},
        {"min_rel_improve": -1.0},
        {"noise_weight": float("inf")},
        {"lr_factor_bounds": (0.0, 10.0)},
        {"lr_factor_bounds": (0.1, 0.9)},
        {"min_lr": -1.0},
        {"min_lr": 1.0, "max_lr": 0.5},
        {"reward_center": float("nan")},
        {"reward_span": 0.0},
        {"beta_warmup": -1},
        {"accumulate": 0},
        {"on_nonfinite": "skip"},
        {"log_limit": -1},
        {"loss_delay": 2},
    ],
    ids=str,
)
def test_settings_outside_their_interval_are_refused(setting):
    with pytest.raises(ValueError, match=f"{list(setting)[-1]}.* must be"):
        AdaptiveOptimizer(SGD(model().parameters(), lr=1.0), **setting)


@pytest.mark.parametrize("setting", [{"cycle_length": 2.0}, {"lr_factor_bounds": 3.0}, {"accumulate": True}])
def test_settings_of_another_kind_are_refused(setting):
    with pytest.raises(TypeError, match=next(iter(setting))):
        AdaptiveOptimizer(SGD(model().parameters(), lr=1.0), **setting)


def test_only_an_optimizer_can_be_wrapped():
    with pytest.raises(TypeError, match=r"optimizer must be a torch\.optim\.Optimizer"):
        AdaptiveOptimizer([nn.Parameter(torch.zeros(1))], lr_rule="trend")


def test_repr_shows_every_setting_and_the_wrapped_optimizer():
    shown = repr(AdaptiveOptimizer(AdamW(model().parameters(), lr=0.125), lr_rule="variance+trend", accumulate=3))
    assert "lr_rule='variance+trend'" in shown
    assert "accumulate=3" in shown
    assert "AdamW" in shown
    assert "lr: 0.125" in shown


def test_train_and_eval_reach_a_schedule_free_optimizer():
    class ScheduleFree(SGD):
        mode = ""

        def train(self):
            self.mode = "train"

        def eval(self):
            self.mode = "eval"

    base = ScheduleFree(model().parameters(), lr=1.0)
    opt = AdaptiveOptimizer(base)
    opt.train()
    assert base.mode == "train"
    opt.eval()
    assert base.mode == "eval"
    AdaptiveOptimizer(SGD(model().parameters(), lr=1.0)).eval()
