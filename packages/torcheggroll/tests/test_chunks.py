"""A member has the same bits in any company: nets, ranks and chunk sizes at random."""

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import nn
from torch.nn import functional
from torcheggroll import TorchEggrollES

POPULATION = 12
WIDTHS = some.sampled_from([1, 2, 3, 7, 8, 15, 16, 17, 32, 40, 64, 100, 128, 300])


class Attentive(nn.Module):
    def __init__(self, d, heads, outputs):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(d), nn.MultiheadAttention(d, heads, batch_first=True)
        self.head = nn.Linear(d, outputs)

    def forward(self, x):
        y = self.norm(x)
        return self.head(x + self.attention(y, y, y, need_weights=False)[0]).mean(1)


@some.composite
def nets(draw):
    """A net and one member's batch of inputs."""
    outputs, batch = draw(some.integers(2, 11)), draw(some.sampled_from([1, 2, 3, 5, 8, 13, 33]))
    kind = draw(some.sampled_from(["MLP", "MLP", "convolutions", "attention"]))
    if kind == "attention":
        heads, width = draw(some.integers(1, 3)), draw(some.integers(1, 17))
        return Attentive(heads * width, heads, outputs), (batch, draw(some.integers(1, 9)), heads * width)
    if kind == "convolutions":
        channels, side = draw(some.integers(1, 9)), draw(some.integers(4, 9))
        net = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1), nn.ReLU(), nn.GroupNorm(1, channels), nn.Flatten(),
            nn.Linear(channels * side**2, outputs),
        )  # fmt: skip
        return net, (batch, 3, side, side)
    sizes = [*draw(some.lists(WIDTHS, min_size=1, max_size=3)), outputs]
    biased = draw(some.booleans())
    layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b, biased), nn.Tanh())]
    return nn.Sequential(*layers[:-1]), (batch, sizes[0])


def fitness_bits(model, size, per_member, rank, engine, chunk_size):
    torch.manual_seed(1)
    x, y = torch.randn(*([POPULATION] if per_member else []), *size), torch.randint(0, 2, (size[0],))
    es = TorchEggrollES(
        copy.deepcopy(model), pop_size=POPULATION, sigma=0.1, rank=rank, seed=5, engine=engine, chunk_size=chunk_size
    )
    es.step(x, functional.cross_entropy, y, per_member="inputs" if per_member else False)
    return torch.cat([p.detach().flatten() for p in es.model.parameters()])


def check(net, per_member, rank, engine, sizes):
    torch.manual_seed(0)
    model, size = net
    for p in model.parameters():
        torch.nn.init.normal_(p, 0, 0.3)
    whole = fitness_bits(model, size, per_member, rank, engine, POPULATION)
    for chunk_size in sizes:
        assert torch.equal(whole, fitness_bits(model, size, per_member, rank, engine, chunk_size)), chunk_size


ARGUMENTS = {
    "net": nets(),
    "per_member": some.booleans(),
    "rank": some.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 12, 16]),
    "engine": some.sampled_from(["vmap", "fold"]),
    "sizes": some.lists(some.integers(1, POPULATION - 1), min_size=2, max_size=2, unique=True),
}


@settings(max_examples=15, deadline=None, derandomize=True)
@given(**ARGUMENTS)
def test_the_weights_do_not_depend_on_the_chunk_to_the_bit(net, per_member, rank, engine, sizes):
    check(net, per_member, rank, engine, sizes)


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(**ARGUMENTS)
def test_nor_in_six_hundred_nets_drawn_anew(net, per_member, rank, engine, sizes):
    check(net, per_member, rank, engine, sizes)
