"""A member has the same bits in any company: chunks of every size give the same weights."""

import copy
import weakref
from itertools import accumulate

import pytest
import torch
from torch import nn
from torch.nn import functional
from torcheggroll import TorchEggrollES
from torcheggroll._evaluate.fold import Fold
from torcheggroll._evaluate.vmap import Vmap

POPULATION = 12


class Attentive(nn.Module):
    def __init__(self, d=12, heads=3):
        super().__init__()
        self.token, self.position = nn.Embedding(11, d), nn.Embedding(7, d)
        self.norm, self.attention = nn.LayerNorm(d), nn.MultiheadAttention(d, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))
        self.head = nn.Linear(d, 11)

    def forward(self, x):
        y = self.token(x) + self.position(torch.arange(7))
        z = self.norm(y)
        y = y + self.attention(z, z, z, need_weights=False)[0]
        return self.head(y + self.mlp(y)).flatten(0, 1)


def convolutional(channels):
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1), nn.ReLU(), nn.GroupNorm(1, channels),
        nn.Conv2d(channels, 7, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(63, 3),
    )  # fmt: skip


def images(*lead):
    return lambda batch: (torch.randn(*lead, batch, 3, 8, 8), torch.randint(0, 3, (*lead, batch)))


def tokens(*lead):
    return lambda batch: (torch.randint(0, 11, (*lead, batch, 7)), torch.randint(0, 11, (*lead, batch * 7)))


@pytest.mark.parametrize("engine", ["vmap", "fold", "loop"])
@pytest.mark.parametrize("per_member", [False, True])
@pytest.mark.parametrize(
    ("make", "data", "batch"),
    [
        (lambda: convolutional(5), images, 5),
        (lambda: convolutional(8), images, 1),  # one sample in all when one member is evaluated
        (lambda: convolutional(1), images, 3),  # a weight of one row is perturbed densely
        (Attentive, tokens, 5),
        (Attentive, tokens, 1),
    ],
    ids=["convolutions", "one image", "one channel", "attention", "one sequence"],
)
def test_the_weights_do_not_depend_on_the_chunk_to_the_bit(make, data, batch, per_member, engine):
    torch.manual_seed(0)
    model = make()
    x, y = data(*([POPULATION] if per_member else []))(batch)
    weights = []
    for chunk_size in (1, 2, 3, 5, 7, 12, None):
        own = copy.deepcopy(model)
        es = TorchEggrollES(own, pop_size=POPULATION, sigma=0.1, seed=5, engine=engine, chunk_size=chunk_size)
        for _ in range(2):
            es.step(x, functional.cross_entropy, y, per_member=per_member)
        weights.append(torch.cat([p.detach().flatten() for p in own.parameters()]))
    assert all(torch.equal(weights[0], other) for other in weights[1:])


@pytest.mark.parametrize("engine", ["vmap", "fold"])
@pytest.mark.parametrize("per_member", [False, True])
@pytest.mark.parametrize("rank", [7, 8, 16])
def test_long_sums_do_not_depend_on_where_a_member_lies_in_memory(rank, per_member, engine):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 7), nn.Tanh(), nn.Linear(7, 9))
    lead = [POPULATION] if per_member else []
    x = torch.randn(*lead, 33, 40)
    outputs = [
        TorchEggrollES(
            model, pop_size=POPULATION, sigma=0.1, rank=rank, seed=5, engine=engine, chunk_size=size
        ).forward(x, per_member=per_member)
        for size in (1, 2, 3, 5, 12)
    ]
    assert all(torch.equal(outputs[0], other) for other in outputs[1:])


@pytest.mark.parametrize("name", ["fold", "vmap"])
def test_the_results_of_a_chunk_are_let_go_before_the_next_is_evaluated(name, monkeypatch):
    engine, seen = {"fold": Fold, "vmap": Vmap}[name], []
    run = engine.run

    def followed(self, deltas, task):
        assert [result() for result in seen] == [None] * len(seen), "a result outlives its chunk"
        out = run(self, deltas, task)
        seen.append(weakref.ref(out))
        return out

    es = TorchEggrollES(nn.Linear(5, 3), pop_size=24, seed=0, engine=name, chunk_size=4)
    x = torch.randn(24, 2, 5)
    es.forward(x, per_member=True)  # the probe's results are its own
    monkeypatch.setattr(engine, "run", followed)
    es.forward(x, per_member=True)
    assert len(seen) == 6


def peak_bytes(call):
    """Bytes of torch's allocations alive at the worst moment of a call."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    events = profile.profiler.kineto_results.events()
    moments = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    return max(accumulate(size for _, size in moments))


@pytest.mark.parametrize("engine", ["fold", "vmap"])
def test_memory_does_not_grow_with_the_population(engine):
    def peak(population):
        model = nn.Sequential(nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, 10))
        es = TorchEggrollES(model, pop_size=population, seed=0, engine=engine, chunk_size=16)
        x, y = torch.randn(256, 40), torch.randint(0, 10, (256,))
        es.step(x, functional.cross_entropy, y)
        return peak_bytes(lambda: es.step(x, functional.cross_entropy, y))

    small, large = peak(64), peak(1024)
    assert small > 16 * 256 * 64 * 4, "the activations of a chunk are not among what was counted"
    assert large - small < 64 * (1024 - 64), "members cost more than their fitness"
