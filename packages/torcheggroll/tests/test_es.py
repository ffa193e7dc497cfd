import copy
import math
import pickle

import pytest
import torch
from reference import dense_members, relative
from torch import nn
from torch.nn import functional
from torcheggroll import MemberSpec, TorchEggrollES


def mlp(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 3))


def data():
    torch.manual_seed(9)
    return torch.randn(12, 6), torch.randint(0, 3, (12,))


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def fitness(model):
    x, y = data()
    return -float(functional.cross_entropy(model(x), y))


@pytest.mark.parametrize("scale", ["hyperscale", "paper", "unbiased"])
def test_a_step_is_the_papers_update_of_dense_members(scale):
    es = TorchEggrollES(mlp().double(), pop_size=8, sigma=0.1, lr=0.3, rank=2, seed=3, scale=scale, engine="vmap")
    x, y = data()
    members, before = dense_members(es), flat(es.model)
    s = [-float(functional.cross_entropy(m(x.double()), y)) for m in members]
    mean = sum(s) / 8
    deviation = math.sqrt(sum((v - mean) ** 2 for v in s) / 7)
    c = {"hyperscale": 0.1 * math.sqrt(8), "paper": 1.0, "unbiased": 10.0}[scale]
    ascent = sum((v - mean) / deviation * (flat(m) - before) / 0.1 for v, m in zip(s, members, strict=True)) * c / 8
    got = es.step(x.double(), functional.cross_entropy, y)
    assert got == pytest.approx(mean, rel=1e-9)
    assert relative(flat(es.model) - before, 0.3 * ascent) < 1e-9


def test_both_forms_of_step_agree():
    x, y = data()
    models = []
    for form in ("eval_fn", "loss"):
        es = TorchEggrollES(mlp(), pop_size=8, sigma=0.1, seed=3)
        mean = es.step(fitness) if form == "eval_fn" else es.step(x, functional.cross_entropy, y)
        models.append((mean, flat(es.model)))
    assert models[0][0] == pytest.approx(models[1][0], rel=1e-5)
    assert relative(models[0][1], models[1][1]) < 1e-5


def test_eval_fn_is_called_once_per_member():
    calls = []
    TorchEggrollES(mlp(), pop_size=8, seed=0).step(lambda m: calls.append(0) or fitness(m))
    assert len(calls) == 8


def test_one_seed_gives_one_run_and_another_seed_another():
    runs = []
    for seed in (1, 1, 2):
        es = TorchEggrollES(mlp(), pop_size=8, sigma=0.1, seed=seed)
        for _ in range(3):
            es.step(fitness)
        runs.append(flat(es.model))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_without_a_seed_the_run_follows_manual_seed():
    seeds = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        seeds.append(TorchEggrollES(nn.Linear(2, 2)).seed)
    assert seeds[0] == seeds[1] != seeds[2]


@pytest.mark.parametrize("engine", ["auto", "vmap", "fold", "loop"])
def test_stream_mode_storage_and_gradients_are_left_alone(engine):
    model = nn.Sequential(nn.Linear(6, 10), nn.Dropout(0.5), nn.Linear(10, 3))
    model[1].eval()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    es = TorchEggrollES(model, pop_size=8, sigma=0.1, seed=0, engine=engine)
    stream, storage = torch.get_rng_state(), [p.data_ptr() for p in model.parameters()]
    es.step(*data()[:1], functional.cross_entropy, data()[1]) if engine != "loop" else es.step(fitness)
    x, y = data()
    torch.set_rng_state(stream)
    es.step(x, functional.cross_entropy, y)
    assert torch.equal(stream, torch.get_rng_state())
    assert [p.data_ptr() for p in model.parameters()] == storage
    assert [m.training for m in model.modules()] == [True, True, False, True]
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert model[2].weight.grad is None


@pytest.mark.parametrize("engine", ["auto", "vmap", "fold", "loop"])
def test_an_exception_leaves_everything_as_it_was(engine):
    model = mlp().train()
    es = TorchEggrollES(model, pop_size=8, sigma=0.1, seed=0, engine=engine)
    before, storage = flat(model), [p.data_ptr() for p in model.parameters()]
    calls = []

    def broken(m):
        calls.append(0)
        if len(calls) > 3 or engine in ("vmap", "fold"):
            raise KeyError("the simulator died")
        return fitness(m)

    with pytest.raises(KeyError, match="the simulator died"):
        es.step(broken)
    assert torch.equal(before, flat(model))
    assert [p.data_ptr() for p in model.parameters()] == storage
    assert all(m.training for m in model.modules())
    assert es.epoch == 0
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), None])
def test_a_bad_member_takes_its_pair_along_and_nothing_else(bad):
    es = TorchEggrollES(mlp().double(), pop_size=8, sigma=0.1, lr=0.3, seed=3, scale="paper", fitness="raw")
    s = [0.1, 0.7, 0.3, bad, -0.2, 0.5, 0.9, 0.4]
    members, before = dense_members(es), flat(es.model)
    es.ask()
    es.tell(s)
    kept = [0, 1, 4, 5, 6, 7]
    want = sum(s[i] * (flat(members[i]) - before) / 0.1 for i in kept) / 6
    assert relative(flat(es.model) - before, 0.3 * want) < 1e-9
    assert (es.diagnostics.counted, es.diagnostics.dropped) == (6, 2)


@pytest.mark.filterwarnings("ignore:at least one pair must have")
def test_no_good_member_at_all_changes_nothing():
    es = TorchEggrollES(mlp(), pop_size=8, seed=3, optimizer=torch.optim.Adam)
    before = flat(es.model)
    assert math.isnan(es.step(lambda m: float("nan")))
    assert torch.equal(before, flat(es.model))
    assert es.epoch == 1


@pytest.mark.parametrize("shaping", ["zscore", "centered", "rank", "sign", "question"])
def test_equal_fitness_changes_nothing_and_is_said_once(shaping):
    es = TorchEggrollES(mlp(), pop_size=8, seed=3, fitness=shaping)
    before = flat(es.model)
    with pytest.warns(UserWarning, match="all scored alike at sigma=0.02"):
        es.step(lambda m: 0.1)
    es.step(lambda m: 0.1)
    assert torch.equal(before, flat(es.model))


def test_lr_zero_changes_nothing():
    es = TorchEggrollES(mlp(), pop_size=8, seed=3, lr=0.0)
    before = flat(es.model)
    es.step(fitness)
    assert torch.equal(before, flat(es.model))


@pytest.mark.parametrize("optimizer", [None, torch.optim.Adam, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)])
def test_a_resumed_run_goes_on_to_the_bit(tmp_path, optimizer):
    def make():
        return TorchEggrollES(
            mlp(), pop_size=8, sigma=0.1, seed=11, optimizer=optimizer, noise_reuse=2,
            lr_scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, 2, 0.5), sigma_schedule=lambda t: 0.1 / (1 + t),
        )  # fmt: skip

    one = make()
    for _ in range(6):
        one.step(fitness)
    two = make()
    for _ in range(3):
        two.step(fitness)
    torch.save(two.state_dict(), tmp_path / "es.pt")
    three = make()
    three.load_state_dict(torch.load(tmp_path / "es.pt", weights_only=True))
    for _ in range(3):
        three.step(fitness)
    assert torch.equal(flat(one.model), flat(three.model))
    assert (one.lr, one.sigma, one.epoch) == (three.lr, three.sigma, three.epoch)


def test_a_checkpoint_brings_its_settings_along():
    saved = TorchEggrollES(mlp(), pop_size=16, sigma=0.3, lr=0.7, rank=1, seed=5, noise="rademacher", scale="paper")
    es = TorchEggrollES(mlp(1), pop_size=8, seed=6)
    es.load_state_dict(saved.state_dict())
    assert (es.pop_size, es.sigma, es.lr, es.rank, es.seed, es.noise, es.scale) == (
        16,
        0.3,
        0.7,
        1,
        5,
        "rademacher",
        "paper",
    )
    assert torch.equal(flat(es.model), flat(saved.model))


def test_a_checkpoint_of_0_2_0_loads():
    es, other = TorchEggrollES(mlp(), seed=0), TorchEggrollES(mlp(1), seed=0)
    es.load_state_dict(
        {"epoch": 7, "base_params": other.base_params, "param_names": [], "param_shapes": [], "pop_size": 4,
         "sigma": 0.5, "lr": 0.25, "rank": 2}
    )  # fmt: skip
    assert (es.epoch, es.pop_size, es.sigma, es.lr, es.rank) == (7, 4, 0.5, 0.25, 2)
    assert torch.equal(flat(es.model), flat(other.model))


@pytest.mark.parametrize(
    "damage",
    [lambda s: s["base_params"].pop("0.weight"), lambda s: s.update(sigma=-1.0), lambda s: s.update(pop_size=3)],
)
def test_a_wrong_checkpoint_is_refused_before_anything_is_written(damage):
    es = TorchEggrollES(mlp(), pop_size=8, seed=0)
    state = TorchEggrollES(mlp(1), pop_size=8, seed=1).state_dict()
    damage(state)
    before = flat(es.model)
    with pytest.raises(ValueError, match="must"):
        es.load_state_dict(state)
    assert torch.equal(before, flat(es.model))
    assert (es.seed, es.sigma, es.pop_size) == (0, 0.02, 8)


def test_ask_and_tell_is_step():
    stepped, told = (TorchEggrollES(mlp(), pop_size=8, sigma=0.1, seed=3, engine="loop") for _ in "ab")
    stepped.step(fitness)
    population = told.ask()
    scores = {}
    for spec in reversed(population):
        spec = pickle.loads(pickle.dumps(spec))
        with told.member(spec) as model:
            scores[spec] = fitness(model)
    told.tell({s: v for s, v in scores.items() if s.member < 3}, partial=True)
    told.tell({s: v for s, v in scores.items() if s.member >= 3})
    assert torch.equal(flat(stepped.model), flat(told.model))


def test_a_missing_result_drops_its_pair():
    es = TorchEggrollES(mlp(), pop_size=8, seed=3)
    es.ask()
    es.tell({0: 1.0, 1: 2.0, 2: 0.5, 6: 1.0, 7: 3.0})
    assert (es.diagnostics.counted, es.diagnostics.dropped) == (4, 4)


@pytest.mark.filterwarnings("ignore:the members must differ in fitness")
def test_results_of_another_epoch_are_refused():
    es = TorchEggrollES(mlp(), pop_size=8, seed=3)
    late = es.ask()[0]
    es.tell([1.0] * 8)
    es.ask()
    with pytest.raises(ValueError, match="drop results that came too late"):
        es.tell({late: 1.0})


def test_a_spec_of_an_old_epoch_still_makes_its_member():
    es = TorchEggrollES(mlp(), pop_size=8, sigma=0.1, seed=3, lr=0.0)
    with es.member(5) as model:
        then = flat(model)
    es.step(fitness)
    with es.member(MemberSpec(3, 0, 5)) as model:
        assert torch.equal(then, flat(model))


def test_several_evaluations_are_averaged_and_questions_are_centred_one_by_one():
    scores = torch.randn(8, 5, dtype=torch.float64)
    results = []
    for shaping, given in (
        ("zscore", scores),
        ("zscore", scores.mean(1)),
        ("question", scores + torch.arange(5) * 100),
        ("question", scores),
    ):
        es = TorchEggrollES(mlp(), pop_size=8, sigma=0.1, seed=3, fitness=shaping)
        es.ask()
        es.tell(given)
        results.append(flat(es.model))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[2], results[0])


def test_prepared_members_are_made_one_at_a_time():
    es = TorchEggrollES(mlp(), pop_size=8, sigma=0.1, seed=3)
    population, members = es.prepare_population(), dense_members(es)
    stacked = es.get_stacked_params()
    for i in (0, 5, -1):
        own = population[i]
        assert own.keys() == dict(members[i].named_parameters()).keys()
        for name, value in members[i].named_parameters():
            assert torch.allclose(own[name], value, atol=1e-7)
            assert torch.equal(own[name], stacked[name][i])
    assert len(population) == len(list(population)) == 8
    assert es.apply_fitness_scores([fitness(m) for m in members]) == pytest.approx(sum(map(fitness, members)) / 8)
    with pytest.raises(RuntimeError, match=r"Call prepare_population\(\) first"):
        es.apply_fitness_scores([0.0] * 8)


def test_inputs_may_be_tuples_and_dictionaries_and_differ_by_member():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(5, 3)

        def forward(self, u, v):
            return {"sum": self.a(u) + self.b(v), "both": [self.a(u), self.b(v)]}

    es = TorchEggrollES(Two().double(), pop_size=6, sigma=0.1, seed=0)
    u, v = torch.randn(6, 2, 4, dtype=torch.float64), torch.randn(6, 2, 5, dtype=torch.float64)
    members = dense_members(es)
    for inputs in ((u, v), {"v": v, "u": u}):
        got = es.forward(inputs, per_member=True)
        for i, m in enumerate(members):
            assert relative(got["sum"][i], m(u[i], v[i])["sum"].detach()) < 1e-12
            assert relative(got["both"][1][i], m(u[i], v[i])["both"][1].detach()) < 1e-12
    y = torch.randn(2, 3, dtype=torch.float64)
    mean = es.step((u, v), lambda out, t: functional.mse_loss(out["sum"], t), y, per_member="inputs")
    assert mean == pytest.approx(
        -sum(float(functional.mse_loss(m(u[i], v[i])["sum"], y)) for i, m in enumerate(members)) / 6
    )


def test_a_loss_that_python_computes_runs_in_the_loop():
    x, y = data()
    es = TorchEggrollES(mlp(), pop_size=8, sigma=0.1, seed=3)
    with pytest.warns(UserWarning, match="one member after the other"):
        es.step(x, lambda out, t: float(functional.cross_entropy(out, t)), y)
    same = TorchEggrollES(mlp(), pop_size=8, sigma=0.1, seed=3, engine="loop")
    same.step(x, functional.cross_entropy, y)
    assert relative(flat(es.model), flat(same.model)) < 1e-6


def test_weight_decay_and_norm_limits_do_what_they_say():
    plain, decayed, limited = (
        TorchEggrollES(mlp(), pop_size=8, sigma=0.1, lr=0.5, seed=3, **kw)
        for kw in ({}, {"weight_decay": 0.1}, {"max_update_norm": 1e-3})
    )
    before = flat(plain.model)
    for es in (plain, decayed, limited):
        es.step(fitness)
    assert relative(flat(decayed.model), flat(plain.model) - 0.05 * before) < 1e-6
    assert float((flat(limited.model) - before).norm()) == pytest.approx(0.5e-3, rel=1e-3)
    assert limited.diagnostics.update_norm > 1e-3


def test_an_optimizer_of_ones_own_gets_the_negated_estimate():
    model = mlp()
    twin = TorchEggrollES(mlp(), pop_size=8, sigma=0.1, lr=0.2, seed=3)
    adam = torch.optim.SGD([{"params": model.parameters()}], lr=0.2)
    es = TorchEggrollES(model, pop_size=8, sigma=0.1, seed=3, optimizer=adam)
    es.step(fitness)
    twin.step(fitness)
    assert torch.allclose(flat(model), flat(twin.model), atol=1e-7)
    with pytest.raises(ValueError, match="must hold every evolved parameter"):
        TorchEggrollES(mlp(), optimizer=adam)


def test_low_precision_weights_gather_small_updates_in_a_master_copy():
    model = nn.Linear(8, 8).bfloat16()
    es = TorchEggrollES(model, pop_size=4, sigma=0.01, lr=1e-5, seed=0, fitness="raw", scale="paper")
    before = flat(model).clone()
    for _ in range(40):
        es.ask()
        es.tell([1.0 if i % 2 else -1.0 for i in range(4)])
    master = torch.cat([p.flatten() for p in es.optimizer.param_groups[0]["params"]]).detach()
    assert (master - before.float()).abs().max() > 0
    assert torch.equal(master.bfloat16(), flat(model))


def test_noise_reuse_repeats_noise_for_so_many_epochs():
    es = TorchEggrollES(mlp(), pop_size=4, seed=3, noise_reuse=2, lr=0.0)
    seen = []
    for _ in range(4):
        with es.member(0) as model:
            seen.append(flat(model))
        es.step(fitness)
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[2], seen[3])
    assert not torch.equal(seen[0], seen[2])


def test_callbacks_and_schedules_see_every_epoch():
    es = TorchEggrollES(mlp(), pop_size=4, seed=3, sigma_schedule=lambda t: 0.1 / (t + 1))
    rows = []
    es.callbacks.append(lambda d: rows.append(d.as_dict()))
    for _ in range(3):
        es.step(fitness)
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert [row["sigma"] for row in rows] == pytest.approx([0.1, 0.05, 0.1 / 3])
    assert rows[0]["fitness_max"] >= rows[0]["fitness_mean"] >= rows[0]["fitness_min"]
    assert rows[0]["update_ratio"] == pytest.approx(rows[0]["lr"] * rows[0]["update_norm"] / rows[0]["weight_norm"])


def test_attributes_of_0_2_0_are_there():
    es = TorchEggrollES(mlp(), seed=0)
    for name in ("antithetic", "base_params", "device", "epoch", "fast_noise", "lr", "model", "normalize_fitness",
                 "param_dtypes", "param_names", "param_shapes", "pop_size", "rank", "sigma"):  # fmt: skip
        assert hasattr(es, name)
    assert list(es.base_params) == es.param_names == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert es.param_shapes[0] == (10, 6)
    assert all(name in repr(es) for name in ("pop_size=32", "sigma=0.02", "lr=0.05", "rank=4", "seed=0"))


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"pop_size": 0}, ValueError), ({"pop_size": 3}, ValueError), ({"pop_size": 2.0}, TypeError),
        ({"sigma": -0.1}, ValueError), ({"sigma": float("nan")}, ValueError), ({"sigma": float("inf")}, ValueError),
        ({"lr": -1.0}, ValueError), ({"lr": float("nan")}, ValueError), ({"rank": 0}, ValueError),
        ({"rank": 1.5}, TypeError), ({"scale": "other"}, ValueError), ({"engine": "jax"}, ValueError),
        ({"noise": "laplace"}, ValueError), ({"fitness": "best"}, ValueError), ({"chunk_size": 0}, ValueError),
        ({"memory_budget": -1}, ValueError), ({"noise_reuse": -1}, ValueError), ({"weight_decay": -1}, ValueError),
        ({"max_update_norm": 0.0}, ValueError), ({"fitness": "group"}, ValueError), ({"group_size": 4}, ValueError),
        ({"fitness": "group", "group_size": 5}, ValueError), ({"sigma": 0.0, "scale": "unbiased"}, ValueError),
        ({"fitness": "sign", "antithetic": False}, ValueError), ({"seed": 1.5}, TypeError),
        ({"optimizer": 3}, TypeError),
        ({"param_filter": lambda p, n: False}, ValueError),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(settings, kind):
    with pytest.raises(kind):
        TorchEggrollES(nn.Linear(2, 2), **settings)


@pytest.mark.parametrize("name", ["sigma", "rank", "pop_size"])
def test_settings_are_checked_again_when_they_are_used(name):
    es = TorchEggrollES(mlp(), pop_size=4, seed=0)
    before = flat(es.model)
    setattr(es, name, -1)
    with pytest.raises(ValueError, match=name):
        es.step(fitness)
    assert torch.equal(before, flat(es.model))


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda es: es.step(3), TypeError),
        (lambda es: es.step(lambda m: "good"), TypeError),
        (lambda es: es.step(lambda m: 1j), TypeError),
        (lambda es: es.member(4).__enter__(), ValueError),
        (lambda es: es.tell([0.0] * 4), RuntimeError),
        (lambda es: (es.ask(), es.tell([0.0] * 3)), ValueError),
        (lambda es: (es.ask(), es.tell({9: 0.0})), ValueError),
        (lambda es: (es.ask(), es.tell({"a": 0.0})), TypeError),
        (lambda es: es.forward(torch.zeros(3, 6), per_member=True), ValueError),
        (lambda es: es.get_stacked_params(), RuntimeError),
    ],
)
def test_wrong_calls_are_refused_and_change_nothing(call, kind):
    es = TorchEggrollES(mlp(), pop_size=4, seed=0)
    before = flat(es.model)
    with pytest.raises(kind):
        call(es)
    assert torch.equal(before, flat(es.model))


def test_copies_and_pickles_go_on_alike():
    es = TorchEggrollES(mlp(), pop_size=4, seed=0)
    es.step(fitness)
    twins = [copy.deepcopy(es), pickle.loads(pickle.dumps(es))]
    es.step(fitness)
    for twin in twins:
        twin.step(fitness)
        assert torch.equal(flat(es.model), flat(twin.model))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_a_step_without_any_fitness_says_so_and_moves_nothing(value):
    es = TorchEggrollES(nn.Linear(2, 1), pop_size=4, seed=0)
    before = es.base_params["weight"]
    with pytest.warns(UserWarning, match="at least one pair must have a finite fitness") as caught:
        es.step(lambda model: value)
    assert len(caught) == 1
    es.step(lambda model: value)  # said once
    assert torch.equal(es.base_params["weight"], before)


def test_what_is_no_module_and_no_member_is_refused():
    with pytest.raises(TypeError, match=r"must be a torch.nn.Module, got int"):
        TorchEggrollES(3)
    es = TorchEggrollES(nn.Linear(2, 1), pop_size=4, seed=0)
    with pytest.raises(TypeError, match="an index or a MemberSpec, got 'a'"):
        es.export_lora("a")
    with pytest.raises(ValueError, match="has 2: weight, bias"):
        TorchEggrollES(nn.Linear(2, 1), param_filter=lambda p, name: False)
