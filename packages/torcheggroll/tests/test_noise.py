import pytest
import torch
from torcheggroll.noise.layout import Shape, perturbed_shape
from torcheggroll.noise.perturbation import Members, Noise

CPU = torch.device("cpu")
SHAPES = [perturbed_shape(size, 4) for size in [(6, 10), (6,), (), (5, 3, 2, 2), (1, 7, 4), (300, 500)]]


def test_matrices_are_factored_and_everything_else_is_dense():
    assert [s.rank for s in SHAPES] == [4, 0, 0, 4, 0, 4]
    assert perturbed_shape((2, 9), 4).rank == 2


@pytest.mark.parametrize("distribution", ["gaussian", "rademacher", "uniform"])
def test_a_pair_draws_the_same_in_any_company(distribution):
    noise = Noise(3, distribution)
    counts = [s.numbers for s in SHAPES]
    whole = noise.numbers(5, range(len(SHAPES)), counts, torch.arange(9))
    for j, columns in enumerate(noise.columns_of(counts)):
        alone = noise.numbers(5, [j], [counts[j]], torch.tensor([7, 2]))[:, : counts[j]]
        assert torch.equal(alone, whole[[7, 2]][:, columns])


def test_parameters_of_one_shape_differ_and_so_do_epochs_and_seeds():
    draws = [
        Noise(s, "gaussian").numbers(e, [j], [64], torch.arange(2)) for s in (0, 1) for e in (0, 1) for j in (0, 1)
    ]
    flat = torch.cat(draws).view(16, 64)
    assert (torch.corrcoef(flat) - torch.eye(16)).abs().max() < 0.6


def test_members_of_a_pair_are_mirror_images():
    noise = Noise(0, "gaussian")
    for indices in ([0, 1, 2, 3], [3, 0, 1]):
        deltas = noise.deltas(0, Members(indices, True, CPU), SHAPES, 0.5, [torch.float64] * len(SHAPES))
        plus, minus = indices.index(0), indices.index(1)
        for delta in deltas:
            if delta.dense is None:
                assert torch.equal(delta.left[plus], -delta.left[minus])
                assert torch.equal(delta.right[plus], delta.right[minus])
            else:
                assert torch.equal(delta.dense[plus], -delta.dense[minus])


def test_an_entry_has_deviation_sigma_at_every_rank():
    for rank in (1, 4, 16):
        shape = perturbed_shape((40, 50), rank)
        members = Members(list(range(400)), False, CPU)
        (delta,) = Noise(0, "gaussian").deltas(0, members, [shape], 0.5, [torch.float32])
        E = delta.left.mT @ delta.right
        assert float(E.std()) == pytest.approx(0.5, rel=0.02)
        assert abs(float(E.mean())) < 0.01


def test_shape_counts_the_numbers_of_both_factors_each_from_a_line_of_sixteen():
    assert Shape((6, 10), 4).numbers == 32 + 40
    assert Shape((5, 3, 2, 2), 4).numbers == 32 + 48
    assert Shape((8, 10), 4).numbers == 32 + 40


@pytest.mark.parametrize("distribution", ["gaussian", "rademacher", "uniform"])
def test_every_factor_begins_a_cache_line_in_any_company(distribution):
    for indices in ([0, 1, 2, 3, 4, 5], [3], [2, 3, 5]):
        members = Members(indices, True, CPU)
        for delta in Noise(0, distribution).deltas(0, members, SHAPES, 0.5, [torch.float32] * len(SHAPES)):
            for t in delta:
                if t is not None:
                    assert [t[i].data_ptr() % 64 for i in range(len(indices))] == [0] * len(indices)
