"""Ray actors make the numbers of one process, to the bit, and a lost one costs its members and nothing else.

Ray itself where it is installed, and a stand-in of it everywhere.
"""

import os
import sys
import warnings
from pathlib import Path

import pretend_ray
import pytest
import rank as job
import torch
from torch.nn import functional


@pytest.fixture(scope="module")
def _cluster():
    real = pytest.importorskip("ray", reason="needs Ray")
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own
        real.init(
            num_cpus=4, include_dashboard=False, log_to_driver=False,
            runtime_env={"env_vars": {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}},
        )  # fmt: skip
        yield real
        real.shutdown()


@pytest.fixture(params=["stand-in", pytest.param("Ray", marks=pytest.mark.slow)], autouse=True)
def ray(request, monkeypatch):
    if request.param == "Ray":
        return request.getfixturevalue("_cluster")
    monkeypatch.setitem(sys.modules, "ray", pretend_ray)
    return pretend_ray


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def made(**more):
    return job.TorchEggrollES(job.mlp(), **job.SETTINGS | {"seed": 3} | more)


CALLS = {
    "a loss": lambda o: o.step(*job.data()[:1], functional.cross_entropy, job.data()[1]),
    "own slices": lambda o: o.step(job.data(12)[0], functional.cross_entropy, job.data(12)[1], per_member=True),
    "a function": lambda o: o.step(eval_fn=job.fitness_of),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("actors", [1, 3])
def test_actors_make_the_steps_of_one_process_to_the_bit(name, actors):
    here, there = made(), made()
    with there.remote_members(actors, num_cpus=1) as members:
        for _ in range(3):
            assert CALLS[name](members) == CALLS[name](here)
    assert torch.equal(job.weights(here), job.weights(there))
    for name in ("fitness_mean", "fitness_std", "engine", "dropped"):
        assert getattr(there.diagnostics, name) == getattr(here.diagnostics, name)


def test_actors_write_and_learn_as_one_process():
    here, there = job.writer(checksum_every=1), job.writer(checksum_every=1)
    settings = {"max_new_tokens": 6, "pad_token_id": 0}
    with there.remote_members(2, num_cpus=1) as members:
        for _ in range(3):
            want = here.step_reward([[1, 2], [3]], job.share_of_evens, **settings)
            assert members.step_reward([[1, 2], [3]], job.share_of_evens, **settings) == want
    assert torch.equal(job.weights(here), job.weights(there))
    assert there.texts.report[:6] == here.texts.report[:6]
    assert here.texts.report.tokens == 12 * 2 * 6


@pytest.mark.filterwarnings("ignore")
def test_a_model_of_transformers_with_experts_learns_on_actors_as_here():
    transformers = pytest.importorskip("transformers", reason="needs Transformers")
    config = transformers.MixtralConfig(
        vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, num_local_experts=4, num_experts_per_tok=2,
        bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip

    def made():
        torch.manual_seed(0)
        model = transformers.MixtralForCausalLM(config)
        return job.TorchEggrollES(model, pop_size=8, sigma=0.05, lr=0.5, rank=2, seed=0, fitness="question")

    here, there = made(), made()
    with there.remote_members(2, num_cpus=1) as members:
        for _ in range(2):
            want = here.step_reward([[3, 4, 5], [7]], job.share_of_evens, max_new_tokens=8)
            assert members.step_reward([[3, 4, 5], [7]], job.share_of_evens, max_new_tokens=8) == want
    assert torch.equal(job.weights(here), job.weights(there))
    assert not torch.equal(job.weights(here), job.weights(made()))


def test_what_a_reward_does_wrong_is_raised_here_and_nothing_moves():
    es = job.writer()
    before = job.weights(es)
    with es.remote_members(2, num_cpus=1) as members:
        with pytest.raises(ValueError, match="one score for each of its 2 texts"):
            members.step_reward([[1], [2]], job.too_few, batched=True, max_new_tokens=2)
        assert torch.equal(job.weights(es), before)
        members.step_reward([[1], [2]], job.share_of_evens, max_new_tokens=6)
    here = job.writer()
    here.step_reward([[1], [2]], job.share_of_evens, max_new_tokens=6)
    assert torch.equal(job.weights(es), job.weights(here))


def test_a_lost_actor_costs_its_members_and_another_takes_its_place(ray):
    es = made()
    with es.remote_members(3, num_cpus=1) as members:
        CALLS["a loss"](members)
        ray.kill(members._actors[1])
        with pytest.warns(UserWarning, match="lost an actor"):
            CALLS["a loss"](members)
        assert es.diagnostics.dropped == 4
        CALLS["a loss"](members)
        assert es.diagnostics.dropped == 0
        assert es.epoch == 3


def test_an_actor_with_other_weights_is_found_out():
    es = made(checksum_every=1)
    with es.remote_members(2, num_cpus=1) as members:
        CALLS["a loss"](members)
        with torch.no_grad():
            es.parameters[0].value.add_(1.0)
        with pytest.warns(UserWarning, match="differ"), pytest.raises(RuntimeError, match="every actor was lost"):
            CALLS["a loss"](members)
        assert es.epoch == 1
        CALLS["a loss"](members)  # by actors that began with the weights as they are
        assert (es.epoch, es.diagnostics.dropped) == (2, 0)


def test_ranks_and_closed_actors_are_refused():
    es = made()
    members = es.remote_members(1, num_cpus=1)
    members.close()
    with pytest.raises(RuntimeError, match="closed"):
        CALLS["a loss"](members)
    with pytest.raises(ValueError, match="actors"):
        es.remote_members(0)
    with pytest.raises(TypeError, match="step"):
        es.remote_members(1, num_cpus=1).step(3)
