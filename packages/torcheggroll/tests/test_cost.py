import pytest
import torch
from test_together import SETTINGS, by_loss, data
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode, addmm_flop
from torcheggroll import TorchEggrollES
from torcheggroll.cost import Machine, Work, cost, efficiency, even_world, seconds
from wire import Wire, members_of

H = Machine(evaluation=4e14, update=5e13, draws=1e11, bandwidth=1e10, latency=1e-3)


def mlp(width=10):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, 3))


def shapes(model):
    return [tuple(p.shape) for p in model.parameters()]


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize(
    ("world", "population", "antithetic"), [(2, 12, True), (7, 6, True), (5, 33, False), (64, 96, True)]
)
def test_predicted_and_measured_bytes_agree(world, population, antithetic, width):
    def call(es):
        return es.tell({s: [-float(s.member % 2)] * width for s in es.ask()})

    wire = Wire(world)
    made = members_of(wire, mlp, pop_size=population, antithetic=antithetic, seed=0, checksum_every=0)
    wire.run([lambda es=es: call(es) for es in made])
    work = Work(shapes(mlp()), population, 4, 1, antithetic, evaluations=width)
    assert wire.received == cost(work, world).bytes


@pytest.mark.parametrize("world", [1, 2, 3])
def test_predicted_and_counted_flops_agree(world):
    model = nn.Sequential(nn.Linear(6, 10, bias=False), nn.Tanh(), nn.Linear(10, 3, bias=False))
    x, y = data(12)
    es = TorchEggrollES(model, **SETTINGS, engine="loop")
    es.ranks = Wire(world).ranks(0)
    work = Work(shapes(model), 12, 2, rows=12)
    with FlopCounterMode(display=False) as counted:
        es._run(es._loss_task(x, functional.cross_entropy, y, True))
    thin = 2 * len(es.own_members) * 2 * sum(a * b for a, b in shapes(model))  # the loop forms each member in full
    dense = 2 * len(es.own_members) * 12 * sum(a * b for a, b in shapes(model))
    assert counted.get_total_flops() == dense + thin
    predicted = cost(work, world)
    assert predicted.evaluation_flops == dense + 2 * len(es.own_members) * 12 * 2 * (6 + 10 + 10 + 3)
    in_place = {torch.ops.aten.addmm_: lambda c, a, b, **_: addmm_flop(c, a, b)}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counted:
        es._move(torch.randn(12, dtype=torch.float64), 12)
    assert counted.get_total_flops() == predicted.update_flops


def test_predicted_and_drawn_numbers_agree(monkeypatch):
    drawn = []
    noise = "torcheggroll.noise.perturbation.Noise._blocks"
    from torcheggroll.noise.perturbation import Noise

    blocks = Noise._blocks

    def counting(self, epoch, parameters, counts, pairs):
        drawn.append(sum(counts) * len(pairs))
        return blocks(self, epoch, parameters, counts, pairs)

    monkeypatch.setattr(noise, counting)
    es = TorchEggrollES(mlp(), **SETTINGS, engine="loop", chunk_size=4)
    by_loss(es)
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
