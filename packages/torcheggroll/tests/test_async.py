"""Members evaluated elsewhere: in any order, in pieces, twice, too late, never, and in another process."""

import multiprocessing
import os
import pickle
import random
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, wait
from pathlib import Path

import pytest
import torch
from torch import nn
from torcheggroll import MemberSpec, TorchEggrollES


def make(**settings):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 3))
    return TorchEggrollES(model, **{"pop_size": 12, "sigma": 0.1, "lr": 0.3, "seed": 3, "engine": "loop"} | settings)


def weights(es):
    return torch.cat([p.detach().flatten() for p in es.model.parameters()])


def fitness(model):
    return -float(model(torch.linspace(-1, 1, 18).view(3, 6)).square().sum())


def measured(es):
    found = {}
    for spec in es.ask():
        with es.member(spec) as model:
            found[spec] = fitness(model)
    return found


def remotely(spec):
    """What a worker does: build its own optimizer, make the member, evaluate it."""
    torch.set_num_threads(1)
    es = make()
    with es.member(spec) as model:
        return spec, fitness(model)


@pytest.mark.parametrize("seed", range(5))
def test_neither_order_nor_pieces_matter(seed):
    want, es = make(), make()
    want.step(fitness)
    results = list(measured(es).items())
    draw = random.Random(seed)
    draw.shuffle(results)
    while results:
        size = draw.randint(1, 5)
        piece, results = dict(results[:size]), results[size:]
        if draw.random() < 0.5:
            piece = {spec.member: value for spec, value in piece.items()}
        mean = es.tell(piece, partial=bool(results))
        assert mean == (None if results else want.diagnostics.fitness_mean)
    assert torch.equal(weights(want), weights(es))


def test_nothing_moves_before_the_last_piece():
    es = make()
    results, before = measured(es), weights(es)
    es.tell(results, partial=True)
    es.tell({}, partial=True)
    assert torch.equal(before, weights(es))
    assert es.epoch == 0
    es.tell({})
    assert es.epoch == 1
    assert es.diagnostics.dropped == 0


def test_told_twice_counts_as_told_last():
    want, es = make(), make()
    results = measured(want)
    want.tell(results)
    es.ask()
    es.tell(dict.fromkeys(results, 7.0), partial=True)
    es.tell(results)
    assert torch.equal(weights(want), weights(es))


def test_a_gap_does_not_erase_what_was_told():
    es = make()
    results = measured(es)
    es.tell(results, partial=True)
    es.tell(dict.fromkeys(results), partial=True)
    es.tell({})
    assert es.diagnostics.dropped == 0


def test_a_late_result_is_refused_and_the_population_stays_open():
    es = make()
    late = measured(es)
    es.tell(late)
    results = measured(es)
    es.tell(dict(list(results.items())[:6]), partial=True)
    before = weights(es)
    with pytest.raises(ValueError, match="drop results that came too late"):
        es.tell(late)
    assert torch.equal(before, weights(es))
    es.tell({s: v for s, v in {**late, **results}.items() if s.epoch == es.epoch})
    assert (es.epoch, es.diagnostics.dropped) == (2, 0)


def test_results_of_another_seed_are_refused():
    es = make()
    es.ask()
    with pytest.raises(ValueError, match="must be of this population"):
        es.tell({MemberSpec(4, 0, 0): 1.0})


def test_whoever_never_answers_takes_the_pair_along_and_nobody_else():
    es, want = make(), make()
    results = measured(es)
    es.tell({s: v for s, v in results.items() if s.member != 5})
    want.ask()
    want.tell({s: v for s, v in results.items() if s.member not in (4, 5)})
    assert torch.equal(weights(es), weights(want))
    assert (es.diagnostics.counted, es.diagnostics.dropped) == (10, 2)


@pytest.mark.filterwarnings("ignore:at least one pair must have")
def test_if_nobody_answers_nothing_moves():
    es = make()
    es.ask()
    before = weights(es)
    es.tell({})
    assert torch.equal(before, weights(es))
    assert es.diagnostics.dropped == 12


@pytest.mark.filterwarnings("ignore:at least one pair must have")
def test_a_new_population_forgets_the_pieces_of_the_old_one():
    es = make()
    es.tell(measured(es), partial=True)
    es.ask()
    es.tell({})
    assert es.diagnostics.dropped == 12


def test_a_spec_is_three_integers():
    spec = make().ask()[5]
    assert tuple(spec) == (3, 0, 5)
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert len(pickle.dumps(spec)) < 200


@pytest.mark.slow
def test_a_worker_makes_the_member_from_its_spec_and_gets_the_same_number():
    es = make()
    here = measured(es)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        done, waiting = wait([pool.submit(remotely, spec) for spec in es.ask()], timeout=100)
    assert not waiting
    there = dict(future.result() for future in done)
    assert there == here


@pytest.mark.slow
def test_the_example_learns_with_workers():
    example = Path(__file__).parents[1] / "examples" / "async_workers.py"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    out = subprocess.run(
        [sys.executable, str(example), "--epochs", "8"], env=environment, capture_output=True, text=True, check=True
    ).stdout
    means = [float(line.split()[4]) for line in out.splitlines()]
    assert len(means) == 8
    assert max(means[-2:]) > means[0]
