"""The cost model of a step against what a step is counted to do."""

import re
from pathlib import Path

import pytest
import torch
from bench.speed import cost as module
from bench.speed.cost import Machine, Work, cost, efficiency, even_world, seconds
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode, addmm_flop
from torcheggroll import TorchEggrollES
from torcheggroll.noise.perturbation import Noise

SETTINGS = {"pop_size": 12, "sigma": 0.1, "rank": 2, "seed": 3}
H = Machine(evaluation=4e14, update=5e13, draws=1e11, bandwidth=1e10, latency=1e-3)


def mlp(width=10):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, 3))


def data(*lead):
    return torch.randn(*lead, 12, 6), torch.randint(0, 3, (*lead, 12))


def busiest(es, world, rows):
    """Makes ``es`` the last of ``world`` ranks that all send what it sends; ``rows`` collects what it receives."""

    def gather(row):
        rows.append(row.expand(world, -1))
        return rows[-1]

    es.ranks = type(es.ranks)(world - 1, world, gather)
    return es


def shapes(model):
    return [tuple(p.shape) for p in model.parameters()]


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize(
    ("world", "population", "antithetic"), [(2, 12, True), (7, 6, True), (5, 33, False), (64, 96, True)]
)
def test_predicted_and_measured_bytes_agree(world, population, antithetic, width):
    rows = []
    settings = {"pop_size": population, "antithetic": antithetic, "seed": 0, "checksum_every": 0}
    es = busiest(TorchEggrollES(mlp(), **settings), world, rows)
    es.tell({s: [-float(s.member % 2)] * width for s in es.ask()})
    work = Work(shapes(mlp()), population, 4, 1, antithetic, evaluations=width)
    assert sum(row.numel() * row.element_size() for row in rows) == cost(work, world).bytes


@pytest.mark.parametrize("world", [1, 2, 3])
def test_predicted_and_counted_flops_agree(world):
    model = nn.Sequential(nn.Linear(6, 10, bias=False), nn.Tanh(), nn.Linear(10, 3, bias=False))
    x, _ = data(12)
    es = busiest(TorchEggrollES(model, **SETTINGS, engine="loop", checksum_every=0), world, [])
    work = Work(shapes(model), 12, 2, rows=12)
    with FlopCounterMode(display=False) as counted:
        es.forward(x, per_member=True)
    thin = 2 * len(es.own_members) * 2 * sum(a * b for a, b in shapes(model))  # the loop forms each member in full
    dense = 2 * len(es.own_members) * 12 * sum(a * b for a, b in shapes(model))
    assert counted.get_total_flops() == dense + thin
    predicted = cost(work, world)
    assert predicted.evaluation_flops == dense + 2 * len(es.own_members) * 12 * 2 * (6 + 10 + 10 + 3)
    in_place = {torch.ops.aten.addmm_: lambda c, a, b, **_: addmm_flop(c, a, b)}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counted:
        es.tell({s: float(s.member) for s in es.ask()})
    assert counted.get_total_flops() == predicted.update_flops


def test_predicted_and_drawn_numbers_agree(monkeypatch):
    drawn = []
    draw_from = Noise.draw_from  # through which every draw goes

    def counting(self, tables, row, pairs, *others, **named):
        drawn.append(sum(last - first for first, last in row.columns) * len(pairs))
        return draw_from(self, tables, row, pairs, *others, **named)

    monkeypatch.setattr(Noise, "draw_from", counting)
    es = TorchEggrollES(mlp(), **SETTINGS, engine="loop", chunk_size=4)
    es.step(data()[0], functional.cross_entropy, data()[1])
    assert sum(drawn) == cost(Work(shapes(mlp()), 12, 2, 12)).draws


def test_bytes_do_not_know_the_model_and_time_does():
    small, large = (Work([(n, n)] * 4, 4096, 1, 256) for n in (64, 4096))
    assert cost(small, 8).bytes == cost(large, 8).bytes == 8 * 8 * (1 + 512)
    assert seconds(large, H, 8) > seconds(small, H, 8)
    assert cost(small).bytes == 0


def test_one_rank_is_fully_efficient_and_a_thousand_want_rows():
    few, many = (Work([(7168, 7168)] * 20, 131072, 1, rows) for rows in (1024, 32768))
    assert efficiency(few, H, 1) == 1
    assert efficiency(few, H, 1000) < 0.5 < efficiency(many, H, 1000)
    for work in (few, many):
        world = round(even_world(work, H))
        assert even_world(work, H) == pytest.approx(2 * work.rows * H.update / H.evaluation, rel=0.1)
        assert efficiency(work, H, world) == pytest.approx(0.5, rel=0.05)


def test_memory_is_the_model_a_chunk_and_one_update():
    work = Work([(64, 50), (70,)], 64, 2, 8, weight_bytes=2, chunk=16, activations=1000)
    assert cost(work).memory == 2 * 3270 + 16 * (1000 + 4 * (2 * 114 + 70)) + 4 * 3200
    assert cost(work, 32).memory == 2 * 3270 + 2 * (1000 + 4 * (2 * 114 + 70)) + 4 * 3200


def test_the_page_numbers_the_equations_of_the_module():
    page = (Path(__file__).parents[3] / "docs" / "packages" / "torcheggroll.md").read_text(encoding="utf-8")
    block = page.split("`bench.speed.cost`")[1].split("```")[1]
    assert module.__doc__ is not None
    numbers = [re.findall(r" \((\d)\)", text) for text in (block, module.__doc__.split("P counts")[0])]
    assert numbers[0] == numbers[1] == [str(n) for n in range(1, 10)]
