"""The class: settings, state, checkpoints, slow weights, momentum, capturable and differentiable steps."""

import io
import pickle
from copy import deepcopy

import pytest
import rangerlite
import torch
from rangerlite import RangerLite

NAN, INF = float("nan"), float("inf")


def parameter(n=3):
    return torch.nn.Parameter(torch.linspace(-1, 1, n))


def descend(optimizer, params, steps, seed=0):
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for p in params:
            p.grad = torch.randn(p.shape, generator=draw)
        optimizer.step()


def saved(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_public_names():
    assert rangerlite.__all__ == ["RangerLite", "__version__"]
    assert rangerlite.__version__.count(".") == 2


def test_it_is_a_radam_with_the_promised_defaults():
    optimizer = RangerLite([parameter()])
    assert isinstance(optimizer, torch.optim.RAdam)
    assert optimizer.defaults == {
        "lr": 1e-3, "betas": (0.95, 0.999), "eps": 1e-5, "weight_decay": 0.0, "lookahead_steps": 6,
        "lookahead_alpha": 0.5, "foreach": None, "maximize": False, "capturable": False, "fused": None,
        "differentiable": False, "decoupled_weight_decay": True, "lookahead_momentum": "keep",
    }  # fmt: skip


def test_the_promised_order_of_arguments():
    group = RangerLite([parameter()], 0.1, (0.5, 0.6), 0.2, 0.3, 4, 0.7).param_groups[0]
    names = ("lr", "betas", "eps", "weight_decay", "lookahead_steps", "lookahead_alpha")
    assert [group[name] for name in names] == [0.1, (0.5, 0.6), 0.2, 0.3, 4, 0.7]


def test_parameters_come_as_tensors_dictionaries_or_pairs():
    RangerLite([parameter()])
    RangerLite([{"params": [parameter()], "lookahead_steps": 2}])
    if torch.__version__ >= "2.6":
        assert RangerLite([("weight", parameter())]).param_groups[0]["param_names"] == ["weight"]


BAD = [
    {"lr": -1.0}, {"lr": NAN}, {"lr": INF}, {"lr": torch.tensor([0.1, 0.2])}, {"betas": (2, 3)}, {"betas": (0.9, 1.0)},
    {"betas": (0.9,)}, {"betas": 0.9}, {"betas": (NAN, 0.9)}, {"eps": -1e-9}, {"eps": INF}, {"weight_decay": -5.0},
    {"weight_decay": NAN}, {"lookahead_steps": 0}, {"lookahead_alpha": -0.1}, {"lookahead_alpha": 1.1},
    {"lookahead_alpha": NAN}, {"lookahead_momentum": "forget"},
]  # fmt: skip
KINDS = [{"lookahead_steps": 2.0}, {"lookahead_steps": True}, {"lr": "fast"}, {"betas": (torch.tensor(0.9), 0.9)}]


@pytest.mark.parametrize("settings", BAD + KINDS, ids=str)
def test_bad_settings_are_refused_in_defaults_groups_and_checkpoints(settings):
    error = TypeError if settings in KINDS[:3] or ("betas" in settings and settings is KINDS[3]) else ValueError
    with pytest.raises(error, match=next(iter(settings)) if "lr" not in settings else "lr"):
        RangerLite([parameter()], **settings)
    optimizer = RangerLite([parameter()])
    with pytest.raises(error):
        optimizer.add_param_group({"params": [parameter()], **settings})
    assert len(optimizer.param_groups) == 1
    state = optimizer.state_dict()
    state["param_groups"][0].update(settings)
    with pytest.raises(error):
        optimizer.load_state_dict(state)


def test_paths_that_exclude_each_other_are_refused():
    for settings in ({"fused": True, "foreach": True}, {"differentiable": True, "fused": True}):
        with pytest.raises(RuntimeError, match="fused"):
            RangerLite([parameter()], **settings)
    with pytest.raises(RuntimeError, match="foreach"):
        RangerLite([parameter()], differentiable=True, foreach=True)


def test_a_sparse_gradient_is_refused_before_anything_is_written():
    a, b = parameter(), parameter()
    optimizer = RangerLite([{"params": [a]}, {"params": [b]}])
    before = a.detach().clone()
    a.grad, b.grad = torch.ones(3), torch.ones(3).to_sparse()
    with pytest.raises(RuntimeError, match="RangerLite does not support sparse gradients"):
        optimizer.step()
    assert torch.equal(a, before)
    assert not optimizer.state


@pytest.mark.parametrize("momentum", ["keep", "reset", "pullback"])
@pytest.mark.parametrize("stop", range(1, 2 * 3 + 2))
def test_a_run_resumed_at_any_step_equals_the_unbroken_run(stop, momentum):
    settings = {"lookahead_steps": 3, "lr": 0.1, "lookahead_momentum": momentum}
    unbroken, broken = [parameter(), parameter(5)], [parameter(), parameter(5)]
    gradients = [torch.randn(11, p.numel(), generator=torch.Generator().manual_seed(p.numel())) for p in unbroken]

    def run(optimizer, params, steps):
        for step in steps:
            for place, (p, g) in enumerate(zip(params, gradients, strict=True)):
                p.grad = None if (step + place) % 4 == 3 else g[step]
            optimizer.step()

    run(RangerLite(unbroken, **settings), unbroken, range(11))
    first = RangerLite(broken, **settings)
    run(first, broken, range(stop))
    second = RangerLite(broken, **settings)
    second.load_state_dict(saved(first.state_dict()))
    run(second, broken, range(stop, 11))
    assert all(map(torch.equal, unbroken, broken))


def test_three_state_tensors_under_the_promised_keys():
    p = parameter()
    optimizer = RangerLite([p])
    descend(optimizer, [p], 1)
    state = optimizer.state[p]
    assert set(state) == {"step", "exp_avg", "exp_avg_sq", "cached_params"}
    assert [value.shape for value in state.values()] == [(), (3,), (3,), (3,)]


def test_a_checkpoint_of_1_0_x_goes_on_as_if_it_were_ours():
    unbroken, p = parameter(), parameter()
    descend(RangerLite([unbroken], lookahead_steps=4, lr=0.1), [unbroken], 9)
    first = RangerLite([p], lookahead_steps=4, lr=0.1)
    descend(first, [p], 0)
    draw = torch.Generator().manual_seed(0)
    for _ in range(3):
        p.grad = torch.randn(3, generator=draw)
        first.step()
    old = saved(first.state_dict())
    for name in ("fused", "lookahead_momentum"):
        del old["param_groups"][0][name]
    second = RangerLite([p], lookahead_steps=4, lr=0.1)
    second.load_state_dict(old)
    for _ in range(6):
        p.grad = torch.randn(3, generator=draw)
        second.step()
    assert torch.equal(p, unbroken)


def test_a_checkpoint_of_torchs_radam_loads_and_slow_weights_start_at_the_current_ones():
    p = parameter()
    radam = torch.optim.RAdam([p], lr=0.1)
    descend(radam, [p], 2)
    now = p.detach().clone()
    optimizer = RangerLite([p], lookahead_steps=3, lookahead_alpha=0.0)
    optimizer.load_state_dict(saved(radam.state_dict()))
    assert optimizer.param_groups[0]["lookahead_steps"] == 3
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)
    descend(optimizer, [p], 1)
    assert optimizer.state[p]["step"].item() == 3
    assert torch.equal(p, now)


def test_a_checkpoint_with_another_number_of_groups_is_refused():
    with pytest.raises(ValueError, match="different number of parameter groups"):
        RangerLite([parameter()]).load_state_dict({"state": {}, "param_groups": []})


@pytest.mark.parametrize("twin", [deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
def test_twins_run_on_alike(twin):
    p = parameter()
    optimizer = RangerLite([p], lookahead_steps=2)
    descend(optimizer, [p], 3)
    other = twin(optimizer)
    q = other.param_groups[0]["params"][0]
    descend(optimizer, [p], 4, seed=9)
    descend(other, [q], 4, seed=9)
    assert torch.equal(p, q)


def test_somebody_elses_write_to_the_step_count_is_noticed():
    p = parameter()
    optimizer = RangerLite([p], lookahead_steps=4, lookahead_alpha=0.0, lr=0.1)
    descend(optimizer, [p], 2)
    start = optimizer.state[p]["cached_params"].clone()
    optimizer.state[p]["step"].fill_(3.0)
    descend(optimizer, [p], 1)
    assert torch.equal(p, start)
    optimizer.state[p]["step"] = torch.tensor(7.0)
    descend(optimizer, [p], 1)
    assert torch.equal(p, start)


def test_momentum_is_kept_reset_or_pulled_back():
    moments = {}
    for momentum in ("keep", "reset", "pullback"):
        p = parameter()
        optimizer = RangerLite([p], lookahead_steps=2, lookahead_alpha=0.25, lookahead_momentum=momentum)
        descend(optimizer, [p], 2)
        moments[momentum] = optimizer.state[p]["exp_avg"]
    assert moments["keep"].abs().min() > 0
    assert torch.equal(moments["reset"], torch.zeros(3))
    torch.testing.assert_close(moments["pullback"], 0.25 * moments["keep"])


class TestSlowWeights:
    def test_they_come_and_go_to_the_bit(self):
        params = [parameter(), parameter(4)]
        optimizer = RangerLite(params, lookahead_steps=3)
        descend(optimizer, params, 5)
        fast = [p.detach().clone() for p in params]
        slow = [optimizer.state[p]["cached_params"].clone() for p in params]
        addresses = [p.data_ptr() for p in params]
        with optimizer.slow_weights():
            assert all(map(torch.equal, params, slow))
            assert not any(map(torch.equal, params, fast))
        assert all(map(torch.equal, params, fast))
        assert all(torch.equal(optimizer.state[p]["cached_params"], s) for p, s in zip(params, slow, strict=True))
        assert addresses == [p.data_ptr() for p in params]

    def test_the_run_goes_on_as_if_nothing_had_happened(self):
        p, q = parameter(), parameter()
        one, two = RangerLite([p], lookahead_steps=3), RangerLite([q], lookahead_steps=3)
        for step in range(9):
            descend(one, [p], 1, seed=step)
            descend(two, [q], 1, seed=step)
            with two.slow_weights():
                q.data.mul_(7.0)
        assert torch.equal(p, q)

    def test_they_go_when_the_body_raises(self):
        p = parameter()
        optimizer = RangerLite([p])
        descend(optimizer, [p], 2)
        fast = p.detach().clone()
        with pytest.raises(KeyError), optimizer.slow_weights():
            raise KeyError
        assert torch.equal(p, fast)
        descend(optimizer, [p], 1)

    def test_nested_blocks_restore_at_the_outermost_end(self):
        p = parameter()
        optimizer = RangerLite([p])
        descend(optimizer, [p], 2)
        fast, slow = p.detach().clone(), optimizer.state[p]["cached_params"].clone()
        with optimizer.slow_weights():
            with optimizer.slow_weights():
                assert torch.equal(p, slow)
            assert torch.equal(p, slow)
            with pytest.raises(RuntimeError, match="leave the block first"):
                optimizer.step()
        assert torch.equal(p, fast)

    def test_a_step_or_a_load_inside_is_refused(self):
        p = parameter()
        optimizer = RangerLite([p])
        descend(optimizer, [p], 2)
        with optimizer.slow_weights():
            with pytest.raises(RuntimeError, match=r"step\(\) must not be called inside slow_weights"):
                optimizer.step()
            with pytest.raises(RuntimeError, match=r"load_state_dict\(\) must not be called inside"):
                optimizer.load_state_dict(optimizer.state_dict())

    def test_a_parameter_without_slow_weights_keeps_its_value(self):
        p, q = parameter(), parameter(4)
        optimizer = RangerLite([p, q])
        descend(optimizer, [p], 2)
        before = q.detach().clone()
        with optimizer.slow_weights():
            assert torch.equal(q, before)
        assert torch.equal(q, before)

    def test_what_is_saved_inside(self):
        model = torch.nn.Linear(3, 2)
        optimizer = RangerLite(model.parameters(), lookahead_steps=3)
        descend(optimizer, list(model.parameters()), 4)
        outside, fast = deepcopy(optimizer.state_dict()), deepcopy(model.state_dict())
        with optimizer.slow_weights():
            inside, slow = deepcopy(optimizer.state_dict()), deepcopy(model.state_dict())
        assert torch.equal(slow["weight"], outside["state"][0]["cached_params"])
        assert not torch.equal(slow["weight"], fast["weight"])
        for key, value in outside["state"].items():
            assert all(torch.equal(value[name], inside["state"][key][name]) for name in value)

    def test_a_twin_made_inside_is_outside(self):
        p = parameter()
        optimizer = RangerLite([p])
        descend(optimizer, [p], 2)
        with optimizer.slow_weights():
            twin = deepcopy(optimizer)
        descend(twin, twin.param_groups[0]["params"], 1)


@pytest.mark.parametrize("momentum", ["keep", "reset", "pullback"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.complex64])
def test_capturable_equals_the_reference_without_reading_the_step_count(dtype, momentum):
    runs = []
    for capturable in (True, False):
        params = [torch.nn.Parameter(torch.ones(s, dtype=dtype)) for s in [(3,), (), (4, 5)]]
        optimizer = RangerLite(
            params, capturable=capturable, lookahead_steps=4, weight_decay=0.1, lookahead_momentum=momentum
        )
        draw = torch.Generator().manual_seed(0)
        for _ in range(14):
            for p in params:
                p.grad = torch.randn(p.shape, generator=draw, dtype=torch.float32).to(dtype)
            optimizer.step()
        runs.append(params)
    torch.testing.assert_close(*runs)


def test_gradients_flow_through_a_differentiable_step_and_its_pull_back():
    start = torch.randn(4, dtype=torch.float64, requires_grad=True)
    slope = torch.randn(4, dtype=torch.float64, requires_grad=True)

    def after_7_steps(start, slope):
        p = start.clone()
        optimizer = RangerLite([p], lr=0.1, lookahead_steps=3, differentiable=True, weight_decay=0.1)
        for step in range(7):
            p.grad = slope * (step + 1)
            optimizer.step()
        return p

    assert torch.autograd.gradcheck(after_7_steps, (start, slope))


def test_no_path_reads_a_number_in_a_step():
    testkit = pytest.importorskip("testkit", reason="needs the workspace's test kit")
    for settings in ({}, {"foreach": True}, {"foreach": False}, {"capturable": True}):
        params = [parameter(), parameter(40000)]
        optimizer = RangerLite(params, lookahead_steps=2, **settings)
        for p in params:
            p.grad = torch.ones_like(p)
        optimizer.step()
        with testkit.count_host_reads() as reads:
            for _ in range(4):
                optimizer.step()
        assert not reads, f"{settings}: {reads}"


def test_bfloat16_parameters_keep_bfloat16_state_through_a_checkpoint():
    p = torch.nn.Parameter(torch.ones(5, dtype=torch.bfloat16))
    optimizer = RangerLite([p])
    p.grad = torch.ones_like(p)
    optimizer.step()
    other = RangerLite([p])
    other.load_state_dict(saved(optimizer.state_dict()))
    kinds = {name: value.dtype for name, value in other.state[p].items()}
    assert kinds.pop("step") == torch.float32
    assert set(kinds.values()) == {torch.bfloat16}
