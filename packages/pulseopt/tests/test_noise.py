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


def gradients(count):
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(3, 2, generator=draw) for _ in range(count)], [(0, i) for i in range(count)]


class Launches(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts operations that would each be a launch on a GPU; views are none."""

    views = ("view", "split", "detach", "alias", "reshape", "as_strided", "select", "unbind")

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += not any(view in func.__name__ for view in self.views)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("spare_zeros", [False, True])
def test_shared_noise_takes_as_many_launches_for_any_number_of_tensors(spare_zeros):
    counts = []
    for number in (2, 200):
        source = NoiseSource(0, shared=True, spare_zeros=spare_zeros)
        grads, places = gradients(number)
        source.noisy_all(grads, places, 0.1)
        with Launches() as launches:
            source.noisy_all(grads, places, 0.1)
        counts.append(launches.count)
    assert counts[0] == counts[1] <= 8, counts


def test_streams_of_their_own_take_one_launch_a_tensor_and_two_for_all():
    grads, places = gradients(50)
    source = NoiseSource(0)
    source.noisy_all(grads, places, 0.1)
    with Launches() as launches:
        source.noisy_all(grads, places, 0.1)
    assert launches.count == 52


def test_all_together_is_one_by_one_to_the_bit():
    grads, places = gradients(7)
    grads[3] = torch.randn(4, dtype=torch.float64)
    together = NoiseSource(5).noisy_all(grads, places, 0.3)
    for grad, place, noisy in zip(grads, places, together, strict=True):
        assert torch.equal(NoiseSource(5).noisy(grad, *place, 0.3), noisy)


def test_shared_noise_has_its_deviation_leaves_gradients_and_resumes():
    source = NoiseSource(3, shared=True)
    grads = [torch.zeros(10_000), torch.zeros(10_000, dtype=torch.float64)]
    noisy = source.noisy_all(grads, [(0, 0), (0, 1)], 0.5)
    assert [g.dtype for g in noisy] == [torch.float32, torch.float64]
    assert all(g.std().item() == pytest.approx(0.5, rel=0.03) for g in noisy)
    assert not any(g.any() for g in grads)
    other = NoiseSource(9, shared=True)
    other.load(source.seed, source.states())
    again = other.noisy_all(grads, [(0, 0), (0, 1)], 0.5)
    assert all(map(torch.equal, again, source.noisy_all(grads, [(0, 0), (0, 1)], 0.5)))
    assert not torch.equal(again[0], noisy[0])


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64])
def test_entries_with_zero_gradient_can_be_left_alone(shared, dtype):
    grad = torch.tensor([0.0, 1.0, -2.0, 0.0], dtype=dtype)
    spared = NoiseSource(0, shared=shared, spare_zeros=True).noisy_all([grad], [(0, 0)], 1.0)[0]
    plain = NoiseSource(0, shared=shared).noisy_all([grad], [(0, 0)], 1.0)[0]
    zero = grad == 0
    assert not spared[zero].any()
    assert torch.equal(spared[~zero], plain[~zero])
    assert plain[zero].all()
