"""Streams of noise: promised seeds, no collisions, every kind of gradient."""

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pulseopt._step.noise import NoiseSource, stream_seed

CPU = torch.device("cpu")


def test_the_streams_are_those_of_release_0_1_0():
    for group, index in [(0, 0), (0, 5), (3, 1008)]:
        generator = torch.Generator().manual_seed(42 + 1009 * group + index)
        expected = torch.ones(4) + torch.randn(4, generator=generator) * 0.3
        assert torch.equal(NoiseSource(42).noisy(torch.ones(4), group, index, 0.3), expected)


def test_no_two_of_many_parameters_share_a_stream():
    places = [(group, index) for group in range(40) for index in range(0, 3000, 1 if group < 3 else 37)]
    seeds = {stream_seed(7, *place) % 2**32 for place in places}
    assert len(seeds) == len(places)
    assert stream_seed(0, 0, 1009) != stream_seed(0, 1, 0), "release 0.1.0's collision"


@settings(deadline=None)
@given(
    st.tuples(st.integers(0, 30_000), st.integers(0, 30_000)), st.tuples(st.integers(0, 30_000), st.integers(0, 30_000))
)
def test_seeds_differ_modulo_two_to_the_32(one, other):
    if one != other and max(one[0], other[0]) < 2000:
        assert (stream_seed(0, *one) - stream_seed(0, *other)) % 2**32


@pytest.mark.parametrize("seed", [-3, 0, 2**64 - 1, 2**80])
def test_any_integer_is_a_seed(seed):
    assert NoiseSource(seed).draw(torch.Size([2]), torch.float32, CPU, 0, 0).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.complex64])
def test_noise_has_the_gradients_dtype_and_its_deviation(dtype):
    noisy = NoiseSource(0).noisy(torch.zeros(20_000, dtype=dtype), 0, 0, 0.5)
    assert noisy.dtype == dtype
    wide = noisy.to(torch.complex128 if dtype.is_complex else torch.float64)
    assert wide.abs().pow(2).mean().sqrt().item() == pytest.approx(0.5, rel=0.02)


def test_a_scale_multiplies_the_noise_but_not_the_gradient_again():
    plain = NoiseSource(0).noisy(torch.zeros(4), 0, 0, 0.5)
    assert torch.equal(NoiseSource(0).noisy(torch.zeros(4), 0, 0, 0.5, torch.tensor(8.0)), plain * 8)


def test_saved_streams_go_on_where_they_stood():
    source, other = NoiseSource(1), NoiseSource(2)
    source.noisy(torch.zeros(3), 0, 0, 1.0)
    other.load(source.seed, source.states())
    copied = pickle.loads(pickle.dumps(source))
    expected = source.noisy(torch.zeros(3), 0, 0, 1.0)
    assert torch.equal(other.noisy(torch.zeros(3), 0, 0, 1.0), expected)
    assert torch.equal(copied.noisy(torch.zeros(3), 0, 0, 1.0), expected)
