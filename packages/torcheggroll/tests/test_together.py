"""Ranks in one process: what they evaluate, send and hold; test_ranks.py has processes."""

import copy
import math
import pickle

import pytest
import torch
from reference import relative
from torch import nn
from torch.nn import functional
from torcheggroll import TorchEggrollES
from torcheggroll._distributed.ranks import Ranks
from wire import Wire, members_of, weights

SETTINGS = {"pop_size": 12, "sigma": 0.1, "lr": 0.3, "rank": 2, "seed": 3}


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 3))


def data(*lead):
    generator = torch.Generator().manual_seed(9)
    return torch.randn(*lead, 12, 6, generator=generator), torch.randint(0, 3, (*lead, 12), generator=generator)


def fitness(model):
    x, y = data()
    return -float(functional.cross_entropy(model(x), y))


def alone(steps, call, **settings):
    es = TorchEggrollES(mlp(), **SETTINGS | settings)
    means = [call(es) for _ in range(steps)]
    return weights(es), means


def together(world, steps, call, **settings):
    wire = Wire(world)
    made = members_of(wire, mlp, **SETTINGS | settings)
    means = [wire.run([lambda es=es: call(es) for es in made]) for _ in range(steps)]
    return [weights(es) for es in made], means, made


def by_loss(es):
    x, y = data()
    return es.step(x, functional.cross_entropy, y)


def by_function(es):
    return es.step(fitness)


def by_asking(es):
    scores = {}
    for spec in reversed(es.ask()):
        with es.member(spec) as model:
            scores[spec] = fitness(model)
    return es.tell(scores)


def by_list(es):
    population = es.prepare_population()
    return es.apply_fitness_scores(
        [
            -float(functional.cross_entropy(torch.func.functional_call(es.model, own, data()[0]), data()[1]))
            for own in population
        ]
    )


@pytest.mark.parametrize("world", [2, 3, 4, 5, 9])
@pytest.mark.parametrize("call", [by_loss, by_function, by_asking, by_list])
def test_any_number_of_ranks_ends_with_the_weights_of_one_process_to_the_bit(call, world):
    want, means = alone(3, call)
    got, theirs, _ = together(world, 3, call)
    assert all(torch.equal(want, own) for own in got)
    assert all(mean == own for mean, row in zip(means, theirs, strict=True) for own in row)


@pytest.mark.parametrize(
    "settings",
    [
        {"antithetic": False, "pop_size": 7},
        {"engine": "vmap", "chunk_size": 1},
        {"engine": "fold", "chunk_size": 5},
        {"fitness": "rank", "noise": "rademacher", "scale": "paper"},
        {"fitness": "group", "group_size": 4},
        {"fitness": "sign", "optimizer": torch.optim.Adam},
        {"fitness": lambda s: s.argsort().argsort() - 5.5},
        {"noise_reuse": 2, "sigma_schedule": lambda t: 0.1 / (1 + t), "max_update_norm": 0.1},
    ],
    ids=" ".join,
)
def test_every_setting_gives_the_weights_of_one_process(settings):
    want, _ = alone(3, by_loss, **settings)
    for world in (2, 4):
        assert all(torch.equal(want, own) for own in together(world, 3, by_loss, **settings)[0])


@pytest.mark.parametrize("world", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize(("population", "antithetic"), [(12, True), (10, True), (2, True), (7, False), (3000, True)])
def test_ranks_share_whole_pairs_out_evenly(world, population, antithetic):
    shares = Ranks(0, world).shares(population, antithetic)
    assert [i for share in shares for i in share] == list(range(population))
    size = 2 if antithetic else 1
    assert all(share.start % size == 0 == len(share) % size for share in shares)
    assert max(map(len, shares)) - min(map(len, shares)) <= size


def test_each_rank_evaluates_its_own_members_and_no_others():
    calls = []
    together(4, 1, lambda es: es.step(lambda m: calls.append(weights(es)) or fitness(m)))
    evaluated = {tuple(w.tolist()) for w in calls}
    assert len(evaluated) == 12


def test_each_rank_takes_its_slices_of_the_whole_or_just_its_own():
    def whole(es):
        x, y = data(12)
        return es.step(x, functional.cross_entropy, y, per_member=True)

    def own(es):
        x, y = data(12)
        mine = es.own_members
        return es.step(x[mine.start : mine.stop], functional.cross_entropy, y[mine.start : mine.stop], per_member=True)

    want, _ = alone(2, whole)
    for world in (2, 4, 9):
        for call in (whole, own):
            assert all(torch.equal(want, w) for w in together(world, 2, call)[0])
    wire = Wire(2)
    es = members_of(wire, mlp, **SETTINGS)[1]
    with pytest.raises(ValueError, match="must have the population, 12, in front"):
        es.forward(torch.randn(5, 12, 6), per_member=True)


def test_forward_gives_the_outputs_of_the_ranks_own_members():
    x, _ = data()
    everyone = TorchEggrollES(mlp(), **SETTINGS).forward(x)
    parts = [es.forward(x) for es in members_of(Wire(3), mlp, **SETTINGS)]
    assert torch.equal(everyone, torch.cat(parts))
    assert members_of(Wire(9), mlp, **SETTINGS)[0].forward(x) == []


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None])
def test_a_missing_fitness_crosses_as_missing(bad):
    def call(es):
        scores = {spec: bad if spec.member == 5 else spec.member**0.5 for spec in es.ask()}
        return es.tell(scores)

    want, _ = alone(1, call)
    got, _, made = together(3, 1, call)
    assert all(torch.equal(want, own) for own in got)
    assert all((es.diagnostics.counted, es.diagnostics.dropped) == (10, 2) for es in made)


@pytest.mark.parametrize("shaping", ["question", "zscore"])
def test_questions_and_several_evaluations_cross_with_their_gaps(shaping):
    def call(es):
        scores = {}
        for spec in es.ask():
            row = [math.sin(3 * spec.member + q) for q in range(4)]
            scores[spec] = row[:2] if spec.member == 7 else row  # 7 lacks two
        del scores[next(iter(scores))]  # and the first of each rank all four
        return es.tell(scores)

    def one(es):
        scores = {}
        starts = {share.start for share in Ranks(0, 3).shares(12, True)}
        for spec in es.ask():
            row = [math.sin(3 * spec.member + q) for q in range(4)]
            if spec.member not in starts:
                scores[spec] = row[:2] if spec.member == 7 else row
        return es.tell(scores)

    want, _ = alone(2, one, fitness=shaping)
    assert all(torch.equal(want, own) for own in together(3, 2, call, fitness=shaping)[0])


def test_a_rank_whose_members_have_one_evaluation_fits_those_with_more():
    def call(es):
        return es.tell({s: s.member if s.member < 4 else [s.member, 2 * s.member] for s in es.ask()})

    want, _ = alone(1, call)
    assert all(torch.equal(want, own) for own in together(3, 1, call)[0])


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize(("world", "population"), [(2, 12), (3, 8), (7, 6), (40, 64)])
def test_bytes_are_eight_per_fitness_and_a_constant(world, population, width):
    def call(es):
        return es.tell({s: [-float(s.member % 2)] * width for s in es.ask()})

    wire = Wire(world)
    for es in (made := members_of(wire, mlp, **SETTINGS | {"pop_size": population})):
        es.epoch = 1  # between two checksums
    wire.run([lambda es=es: call(es) for es in made])
    most = 2 * math.ceil(population / 2 / world)
    assert wire.received == 8 * world * (1 + width * most)
    assert wire.received <= 8 * population * width + 8 * world * (1 + 2 * width)


def test_ranks_that_drift_apart_are_named_before_anything_is_written():
    wire = Wire(4)
    made = members_of(wire, mlp, **SETTINGS, checksum_every=2)
    wire.run([lambda es=es: by_loss(es) for es in made])
    with torch.no_grad():
        made[2].model[0].bias[3] = torch.nextafter(made[2].model[0].bias[3], torch.tensor(9.0))
    assert not any(isinstance(r, Exception) for r in wire.run([lambda es=es: by_loss(es) for es in made]))
    before = [weights(es) for es in made]
    errors = wire.run([lambda es=es: by_loss(es) for es in made])
    assert all("weights (rank 2 from rank 0)" in str(error) for error in errors)
    assert all(torch.equal(b, weights(es)) and es.epoch == 2 for b, es in zip(before, made, strict=True))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda es: setattr(es, "sigma", 0.2), "settings"),
        (lambda es: setattr(es, "lr", 0.2), "settings"),
        (lambda es: setattr(es, "seed", 4), "seed"),
        (lambda es: setattr(es, "epoch", 7), "epoch"),
        (lambda es: setattr(es, "fitness", max), "settings"),
    ],
)
def test_settings_are_compared_in_every_step(change, name):
    wire = Wire(3)
    made = members_of(wire, mlp, **SETTINGS)
    wire.run([lambda es=es: by_loss(es) for es in made])
    change(made[1])
    errors = wire.run([lambda es=es: by_loss(es) for es in made])
    assert all(f"{name} (rank 1 from rank 0)" in str(error) for error in errors)


def test_chunks_may_differ_between_ranks():
    wire = Wire(3)
    made = members_of(wire, mlp, **SETTINGS)
    for rank, es in enumerate(made):
        es.evaluator.chunk_size = rank + 1
    for _ in range(2):
        wire.run([lambda es=es: by_loss(es) for es in made])
    assert all(torch.equal(alone(2, by_loss)[0], weights(es)) for es in made)


def test_a_rank_that_fails_lets_the_others_know_and_the_step_can_be_taken_again():
    wire = Wire(3)
    made = members_of(wire, mlp, **SETTINGS)
    before = weights(made[0])

    def broken(es, broken_rank):
        if es.ranks.rank == broken_rank:
            return es.step(lambda m: "no number")
        return es.step(fitness)

    def calls(broken_rank):
        def one(es):
            try:
                return broken(es, broken_rank)
            except TypeError as error:
                return error

        return [lambda es=es: one(es) for es in made]

    mean, *others = wire.run(calls(1))[0], *wire.run(calls(1))[1:]
    assert "rank 1 could not evaluate the members of epoch 0" in str(mean)
    assert isinstance(others[0], TypeError)
    assert all(torch.equal(before, weights(es)) and es.epoch == 0 for es in made)
    wire.run(calls(None))
    assert all(torch.equal(alone(1, by_function)[0], weights(es)) for es in made)


def test_a_checkpoint_of_two_ranks_goes_on_with_four_to_the_bit():
    want, _ = alone(6, by_loss, optimizer=torch.optim.Adam)
    two = together(2, 3, by_loss, optimizer=torch.optim.Adam)[2]
    wire = Wire(4)
    four = members_of(wire, mlp, **SETTINGS, optimizer=torch.optim.Adam)
    for es in four:
        es.load_state_dict(copy.deepcopy(two[1].state_dict()))
    for _ in range(3):
        wire.run([lambda es=es: by_loss(es) for es in four])
    assert all(torch.equal(want, weights(es)) for es in four)


def test_a_checkpoint_that_only_some_ranks_loaded_is_noticed_at_once():
    state = together(2, 1, by_loss)[2][0].state_dict()
    wire = Wire(2)
    made = members_of(wire, mlp, **SETTINGS)
    made[1].load_state_dict(state)
    errors = wire.run([lambda es=es: by_loss(es) for es in made])
    assert all("epoch (rank 1 from rank 0); weights (rank 1 from rank 0)" in str(error) for error in errors)


def test_members_of_another_rank_are_refused():
    es = members_of(Wire(3), mlp, **SETTINGS)[1]
    es.ask()
    with pytest.raises(ValueError, match=r"rank 1 must tell of its own members, 4 to 7, got \[3\]"):
        es.tell({3: 1.0})
    with pytest.raises(ValueError, match="Expected 4 fitness scores, got 12"):
        es.tell([1.0] * 12)


def test_a_pickle_is_alone_and_a_copy_stays_in_the_group():
    es = members_of(Wire(3), mlp, **SETTINGS)[1]
    assert pickle.loads(pickle.dumps(Ranks(1, 3, print))).alone
    assert copy.deepcopy(es).ranks is es.ranks


@pytest.mark.parametrize("world", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_as_many_ranks_as_a_cluster_has_end_with_the_weights_of_one(world):
    def tiny():
        torch.manual_seed(0)
        return nn.Linear(3, 2)

    def call(es):
        return es.step(x, functional.mse_loss, y)

    x, y = torch.randn(4, 3), torch.randn(4, 2)
    settings = SETTINGS | {"pop_size": 2 * world + 6, "engine": "fold"}
    one = TorchEggrollES(tiny(), **settings)
    call(one)
    wire = Wire(world)
    made = members_of(wire, tiny, **settings)
    wire.run([lambda es=es: call(es) for es in made])
    assert all(torch.equal(weights(one), weights(es)) for es in made)
    assert relative(weights(one), weights(TorchEggrollES(tiny(), **settings))) > 0
    assert wire.received == 8 * world * (1 + 4)
