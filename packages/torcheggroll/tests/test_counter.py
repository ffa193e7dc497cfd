import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import GAMMA, splitmix, word
from torcheggroll.noise.counter import keys, mix_integer, start, steps, words

SEED = st.integers(-(2**70), 2**70)
SMALL = st.integers(0, 2**40)
CPU = torch.device("cpu")


@given(SEED, SMALL, SMALL, SMALL)
@settings(max_examples=60, deadline=None)
def test_words_are_those_of_python_integers(seed, epoch, parameter, pair):
    key = keys(torch.tensor([start(seed, epoch, parameter)]), torch.tensor([pair]))
    got = words(key, steps(0, 5, CPU))[0].tolist()
    assert [w % 2**64 for w in got] == [word(seed, epoch, parameter, pair, j) for j in range(5)]


def test_the_mixer_is_splitmix64():
    assert mix_integer(GAMMA) == 0xE220A8397B1DCDAF  # the first output of SplitMix64 seeded with zero
    assert mix_integer(12345) == splitmix(12345)


@pytest.mark.parametrize("cut", [1, 2, 6])
def test_any_slice_gives_the_same_words(cut):
    key = keys(torch.tensor([start(1, 2, 3)]), torch.arange(4))
    whole = words(key, steps(0, 7, CPU))
    assert torch.equal(whole[:, cut:], words(key, steps(cut, 7 - cut, CPU)))
    assert torch.equal(whole[2:3], words(key[2:3], steps(0, 7, CPU)))


def test_no_two_streams_start_alike():
    starts = torch.tensor([start(s, e, p) for s in range(3) for e in range(3) for p in range(3)])
    assert keys(starts, torch.arange(1000)).unique().numel() == 27 * 1000


def test_each_bit_is_fair_and_independent_of_its_neighbours():
    w = words(keys(torch.tensor([start(0, 0, 0)]), torch.arange(64)), steps(0, 256, CPU)).flatten()
    bits = ((w.unsqueeze(1) >> torch.arange(64)) & 1).double() * 2 - 1
    assert bits.mean(0).abs().max() < 5 / len(w) ** 0.5
    correlation = bits.T @ bits / len(w) - torch.eye(64, dtype=torch.float64)
    assert correlation.abs().max() < 6 / len(w) ** 0.5
    assert ((bits[1:] * bits[:-1]).mean(0)).abs().max() < 5 / len(w) ** 0.5
