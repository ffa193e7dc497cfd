import json
from pathlib import Path

import pytest
import torch
import torcheggroll
from torcheggroll import (
    compute_es_gradient,
    es,
    generate_lora_noise,
    generate_noise_for_shapes,
    generate_standard_noise,
)

GOLDEN = json.loads(Path(__file__).with_name("torcheggroll_noise.json").read_text())["records"]
CPU = torch.device("cpu")


@pytest.mark.parametrize("record", GOLDEN, ids=lambda r: r["id"])
def test_a_seed_gives_the_bits_that_0_2_0_gave(record):
    case = record["case"]
    param = torch.zeros(case["shape"], dtype=getattr(torch, case["dtype"]))
    rank = {"rank": case["rank"]} if "rank" in case else {}
    got = getattr(torcheggroll, case["fn"])(param=param, sigma=case["sigma"], seed=case["seed"], device=CPU, **rank)
    assert got.flatten().tolist() == record["expect"]["values"]


def test_the_global_stream_is_left_alone():
    before = torch.get_rng_state()
    generate_lora_noise(torch.zeros(3, 4), 2, 0.1, 0, CPU)
    generate_noise_for_shapes({"w": (3, 4), "b": (3,)}, {"w": 1}, 4, 0.1, 0, CPU)
    assert torch.equal(before, torch.get_rng_state())


def test_the_second_half_of_a_population_mirrors_the_first():
    noise = generate_noise_for_shapes({"w": (3, 4), "b": (3,)}, {"w": 1, "b": None}, 6, 0.1, 3, CPU)
    assert all(torch.equal(E[:3], -E[3:]) for E in noise.values())
    assert noise["w"].shape == (6, 3, 4)
    assert torch.linalg.matrix_rank(noise["w"][0]) == 1


def test_batched_noise_is_the_single_noise_of_each_seed():
    seeds = torch.tensor([5, 9])
    both = es.generate_lora_noise_batched((3, 4), 2, 0.1, 2, seeds, CPU, torch.float32)
    assert torch.equal(both[1], generate_lora_noise(torch.zeros(3, 4), 2, 0.1, 9, CPU))
    dense = es.generate_standard_noise_batched((3,), 0.1, 2, seeds, CPU, torch.float32)
    assert torch.equal(dense[0], generate_standard_noise(torch.zeros(3), 0.1, 5, CPU))


def test_fast_batched_noise_needs_no_seeds():
    first, second = (
        es.generate_lora_noise_batched((3, 4), 2, 0.1, 5, None, CPU, torch.float32, fast=True) for _ in "ab"
    )
    assert first.shape == (5, 3, 4)
    assert torch.equal(first, second)
    with pytest.raises(ValueError, match="seeds must hold one integer per member"):
        es.generate_standard_noise_batched((3,), 0.1, 5, None, CPU, torch.float32)


def test_the_gradient_is_the_weighted_mean_times_root_n():
    noise, rewards = {"w": torch.randn(6, 3, 4, dtype=torch.float64)}, torch.randn(6, dtype=torch.float64)
    z = [(float(r) - float(rewards.mean())) / float(rewards.std()) for r in rewards]
    want = sum(f * E for f, E in zip(z, noise["w"], strict=True)) / 6 * 6**0.5
    assert torch.allclose(compute_es_gradient(noise, rewards)["w"], want, rtol=1e-12)
    assert torch.equal(
        compute_es_gradient(noise, torch.ones(6, dtype=torch.float64))["w"], torch.zeros(3, 4, dtype=torch.float64)
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: generate_lora_noise(torch.zeros(3), 2, 0.1, 0, CPU), "param must be a matrix"),
        (lambda: generate_lora_noise(torch.zeros(3, 4), 0, 0.1, 0, CPU), "rank must be in"),
        (lambda: generate_standard_noise(torch.zeros(3), -0.1, 0, CPU), "sigma must be in"),
        (lambda: generate_noise_for_shapes({"a": (2, 2)}, {"a": 1}, 3, 0.1, 0, CPU), "pop_size must be even"),
        (
            lambda: compute_es_gradient({"a": torch.ones(2, 3)}, torch.tensor([1.0, float("nan")])),
            "rewards must be finite",
        ),
    ],
)
def test_wrong_values_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_paths_of_0_3_0_still_import():
    from torcheggroll.normalization import ObservationNormalizer
    from torcheggroll.rl import PolicySearch
    from torcheggroll.seeded_noise import generate_lora_noise as kept

    assert kept is generate_lora_noise
    assert ObservationNormalizer.__name__ in PolicySearch.__init__.__annotations__["normalize"].__args__[1].__name__
