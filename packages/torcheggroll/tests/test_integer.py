"""Integer networks: every number is an integer, and the thin products give what dense members give, to the bit."""

import hashlib
import math

import pytest
import torch
from torch import nn
from torcheggroll.integer import (
    IntegerEggroll,
    IntegerEmbedding,
    IntegerLinear,
    IntegerMinGRU,
    code_length,
)
from torcheggroll.integer._factors import IntegerNoise
from torcheggroll.integer._maths import carried, gate, min_gru, power, product
from torcheggroll.integer._update import move, pair_signs, share, threshold, votes
from torcheggroll.noise.layout import Shape


class Model(nn.Module):
    def __init__(self, symbols=24, width=8, bits=8):
        super().__init__()
        self.embed = IntegerEmbedding(symbols, width, bits=bits)
        self.mix = IntegerMinGRU(width, bits=bits)
        self.head = IntegerLinear(width, symbols, shift=5, bias_shift=1, limit=95, bits=bits)
        for p in self.parameters():  # the same on every version of torch
            p.data.copy_(
                (torch.arange(p.numel()).mul(37) % 41 - 20).clamp(-self.head.largest, self.head.largest).view(p.shape)
            )

    def forward(self, x):
        x = self.embed(x)
        return self.head((self.mix(x) + x).clamp_(-127, 127).to(torch.int8))


def text(pairs, length=6, symbols=24):
    x = (torch.arange(pairs * (length + 1)).pow(2) % 19 % symbols).view(pairs, 1, length + 1)
    return x[..., :-1], x[..., 1:]


def dense_linear(x, weight, bias, layer, s):
    """Python integers through NumPy-free int64: the oracle of one member's layer, from the equations."""
    a = x.long() @ weight.T + (bias << (layer.shift + layer.bias_shift))
    a = a + (1 << (layer.shift + s) >> 1)
    return (a >> (layer.shift + s)).clamp(-layer.limit, layer.limit)


def dense_member(es, member, x):
    """One member of ``Model``, with its weights formed in int64."""
    s, k = es.sigma_shift, torch.tensor([member // 2])
    noise = IntegerNoise(es.seed, es.noise)
    drawn = noise.draw(0, range(len(es.parameters)), [p.shape for p in es.parameters], k)
    own = {}
    for p, (left, right) in zip(es.parameters, drawn, strict=True):
        change = left[0].long() if right is None else left[0].long().T @ right[0].long()
        own[p.name] = (p.value.long() << s) + (-1 if member % 2 else 1) * change
    table = own["embed.weight"][x] + (1 << s >> 1)
    h = (table >> s).clamp(-127, 127)
    model = es.model
    gru = dense_linear(h, own["mix.inner.weight"], own["mix.inner.bias"], model.mix.inner, s)
    state, states = torch.zeros(8, dtype=torch.long), []
    for z, candidate in zip(*gru.chunk(2, -1), strict=True):
        state = state + (((64 + z).clamp(0, 128) * (candidate - state) + 64) >> 7)
        states.append(state)
    mixed = (torch.stack(states) + h).clamp(-127, 127)
    return dense_linear(mixed, own["head.weight"], own["head.bias"], model.head, s)


@pytest.mark.parametrize("noise", ["rademacher", "gaussian"])
@pytest.mark.parametrize(("rank", "sigma_shift"), [(1, 0), (3, 2)])
def test_thin_products_give_what_dense_integer_members_give(noise, rank, sigma_shift):
    es = IntegerEggroll(Model(), pop_size=8, rank=rank, sigma_shift=sigma_shift, noise=noise, seed=3)
    x, _ = text(4)
    with es.members(0, 8) as model:
        got = model(x.repeat_interleave(2, 0))
    for member in range(8):
        assert torch.equal(got[member, 0].long(), dense_member(es, member, x[member // 2, 0]))
    assert got.unique(dim=0).shape[0] == 8


def test_every_weight_and_activation_is_an_integer():
    es, seen = IntegerEggroll(Model(), pop_size=8, seed=0), []
    for module in es.model.modules():
        module.register_forward_hook(lambda _, inputs, output: seen.extend([*inputs, output]))
    es.step(*[text(4)[0], code_length, text(4)[1]], per_pair=True)
    assert len(seen) >= 10
    assert not any(t.is_floating_point() for t in [*seen, *es.model.parameters(), *es.model.buffers()])
    assert all(p.dtype == torch.int8 for p in es.model.parameters())


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(32, 64, 16), (33, 1040, 8), (5, 7, 3), (40, 2001, 16)])
def test_products_are_exact_at_the_extremes(rows, inputs, outputs):
    x = torch.randint(-1, 2, (rows, inputs)).mul(127).to(torch.int8)
    x[0], x[-1] = 127, -127
    w = torch.randint(0, 2, (outputs, inputs)).mul(254).sub(127).to(torch.int8)
    w[0] = 127
    want = (x.long() @ w.long().T).to(torch.int32)
    assert torch.equal(product(x, w), want)
    assert torch.equal(carried(x, w), want)


def test_a_gate_goes_from_shut_to_open_in_128ths():
    assert gate(torch.tensor([-127, -64, -63, 0, 63, 64, 127], dtype=torch.int8)).tolist() == [
        0,
        0,
        1,
        64,
        127,
        128,
        128,
    ]


def test_the_state_of_a_min_gru_stays_within_its_range_and_reaches_what_it_is_told():
    candidate = torch.tensor([127, -127], dtype=torch.int8).repeat_interleave(8).view(16, 1)
    opened = min_gru(torch.full((16, 1), 128, dtype=torch.int16), candidate, torch.zeros(1, dtype=torch.int16))
    assert torch.equal(opened, candidate.to(torch.int16))
    shut = min_gru(torch.zeros(16, 1, dtype=torch.int16), candidate, torch.full((1,), 5, dtype=torch.int16))
    assert shut.unique().tolist() == [5]
    noisy = min_gru(torch.randint(0, 129, (500, 9)).short(), torch.randint(-127, 128, (500, 9)).to(torch.int8),
                    torch.full((9,), 127, dtype=torch.int16))  # fmt: skip
    assert noisy.abs().max() <= 127


def test_code_lengths_are_those_of_a_distribution():
    logits = torch.randint(-127, 128, (50, 256)).to(torch.int8)
    targets = torch.arange(256).expand(50, 256)
    lengths = code_length(logits.unsqueeze(1).expand(50, 256, 256), targets).double() / 4096
    assert (lengths.neg().exp2().sum(1) - 1).abs().max() < 2e-3
    e = torch.tensor([[(16 + i % 16) * 2.0 ** (i // 16) for i in row] for row in logits.clamp(-95, 95).tolist()])
    want = -(e.double() / e.double().sum(1, keepdim=True)).log2()
    assert (lengths - want).abs().max() < 1e-3
    assert code_length(torch.zeros(1, 256, dtype=torch.int8), torch.zeros(1, dtype=torch.long)).item() == 8 * 4096


def test_sums_of_powers_are_exact_at_their_largest():
    e = power(torch.full((256,), 127, dtype=torch.int8))
    assert float(e.sum()) * 16 * 2**6 < 2**24  # in units of the smallest one's last bit
    assert float(e.sum()) == math.fsum(e.tolist())


@pytest.mark.parametrize("settings", [{"chunk_size": 2}, {"chunk_size": 6}, {"chunk_size": 24}])
def test_weights_are_equal_to_the_bit_for_any_chunk(settings):
    runs = []
    for chosen in ({"chunk_size": 8}, settings):
        es = IntegerEggroll(Model(), pop_size=24, seed=1, **chosen)
        for _ in range(3):
            es.step(text(12)[0], code_length, text(12)[1], per_pair=True)
        runs.append(list(es.model.parameters()))
    assert all(map(torch.equal, *runs))


def digest(device, **settings):
    es = IntegerEggroll(Model().to(device), pop_size=64, seed=5, alpha_decay=0.1, **settings)
    x, y = (t.to(device) for t in text(32))
    for _ in range(4):
        es.step(x, code_length, y, per_pair=True)
    held = torch.cat([p.detach().cpu().reshape(-1).view(torch.uint8) for p in es.model.parameters()])
    return hashlib.sha256(bytes(held.tolist())).hexdigest()[:16]


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"))]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("noise", "rank", "want"), [("rademacher", 1, "d07c72adf03499ea"), ("gaussian", 2, "62b31e717b1526de")]
)
def test_a_run_has_the_same_bits_on_every_machine(device, noise, rank, want):
    assert digest(device, noise=noise, rank=rank) == want


def test_a_resumed_run_goes_on_to_the_bit(tmp_path):
    es, other = IntegerEggroll(Model(), pop_size=16, seed=2), IntegerEggroll(Model(), pop_size=8, seed=9)
    x, y = text(8)
    es.step(x, code_length, y, per_pair=True)
    torch.save(es.state_dict(), tmp_path / "state")
    other.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    for run in (es, other):
        run.step(x, code_length, y, per_pair=True)
    assert all(map(torch.equal, es.model.parameters(), other.model.parameters()))
    with pytest.raises(ValueError, match="name and shape"):
        IntegerEggroll(Model(width=16)).load_state_dict(es.state_dict())


def test_votes_are_the_weighted_sum_of_dense_noise():
    signs, noise = torch.tensor([1, -1, 0, 1], dtype=torch.int8), IntegerNoise(0, "gaussian")
    for shape in (Shape((5, 7), 2), Shape((5,), 0)):
        (drawn,) = noise.draw(0, [0], [shape], torch.arange(4))
        left, right = (None if t is None else t.long() for t in drawn)
        dense = left if right is None else torch.einsum("krm,krn->kmn", left, right)
        want = sum(f * e for f, e in zip(signs.long(), dense, strict=True))
        assert torch.equal(votes(signs, drawn).long(), want)


def test_a_weight_moves_by_one_where_votes_reach_the_threshold_and_stays_in_its_range():
    weight = torch.tensor([0, 0, 0, 127, -127, 7], dtype=torch.int8)
    move(weight, torch.tensor([5, 4, -5, 9, -9, -9]), 5, 127)
    assert weight.tolist() == [1, 0, -1, 127, -127, 6]


def test_a_pair_votes_for_its_better_member_or_not_at_all():
    nan, inf = math.nan, math.inf
    assert pair_signs(torch.tensor([2.0, 1, 1, 2, 3, 3, nan, 1, 1, inf])).tolist() == [1, -1, 0, 0, 0]


@pytest.mark.parametrize(("noise", "rank"), [("rademacher", 1), ("gaussian", 2)])
@pytest.mark.parametrize("alpha", [0.05, 0.4])
def test_of_fitness_that_is_noise_a_share_alpha_of_the_weights_moves(noise, rank, alpha):
    layer = IntegerLinear(64, 64, bias=False)
    es = IntegerEggroll(layer, pop_size=512, alpha=alpha, alpha_decay=0, noise=noise, rank=rank, seed=4)
    moved = 0
    for _ in range(10):
        es.tell(torch.randn(512))
        moved += es.moved
    assert moved / (10 * 64 * 64) == pytest.approx(alpha, rel=0.25)


def test_the_threshold_rises_as_the_share_decays():
    shares = [share(0.5, 0.1, epoch) for epoch in (0, 10, 100)]
    assert shares == pytest.approx([0.5, 0.25, 0.5 / 11])
    assert [threshold(a, 1, 1000) for a in shares] == [22, 37, 64]
    assert threshold(1.0, 1, 1000) == 1


def test_four_bits_stay_four_bits():
    es = IntegerEggroll(Model(bits=4), pop_size=16, alpha=1, alpha_decay=0, seed=0)
    for _ in range(20):
        es.tell(torch.arange(16.0))
    values = torch.cat([p.flatten() for p in es.model.parameters()])
    assert (int(values.min()), int(values.max())) == (-7, 7)


def test_an_exception_leaves_the_model_as_it_was():
    es = IntegerEggroll(Model(), pop_size=8, seed=0)
    before = [p.clone() for p in es.model.parameters()]
    with pytest.raises(ZeroDivisionError):
        es.step(text(4)[0], lambda *_: 1 // 0, text(4)[1], per_pair=True)
    assert es.model.head.noise is None
    assert es.model.training
    assert es.epoch == 0
    assert all(map(torch.equal, before, es.model.parameters()))


def test_the_global_stream_is_left_alone():
    es, state = IntegerEggroll(Model(), pop_size=8, seed=0), torch.get_rng_state()
    es.step(text(4)[0], code_length, text(4)[1], per_pair=True)
    assert torch.equal(state, torch.get_rng_state())


def test_shared_data_is_given_to_every_member_and_learned():
    model = Model()
    es = IntegerEggroll(model, pop_size=128, seed=0, alpha_decay=0.05)
    x, y = (t[:4, 0] for t in text(4))
    first = es.step(x, code_length, y)
    for _ in range(30):
        last = es.step(x, code_length, y)
    assert last / 4096 > first / 4096 + 1  # bits per symbol


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"pop_size": 7}, ValueError),
        ({"pop_size": 2.0}, TypeError),
        ({"chunk_size": 3}, ValueError),
        ({"rank": 0}, ValueError),
        ({"sigma_shift": -1}, ValueError),
        ({"alpha": 0.0}, ValueError),
        ({"alpha": 1.1}, ValueError),
        ({"alpha_decay": -0.1}, ValueError),
        ({"alpha_decay": math.nan}, ValueError),
        ({"noise": "uniform"}, ValueError),
    ],
)
def test_wrong_settings_are_refused(settings, kind):
    with pytest.raises(kind, match=next(iter(settings))):
        IntegerEggroll(Model(), **settings)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda es: es.tell([1.0]), "8 members"),
        (lambda es: es.members(1, 4).__enter__(), "whole pairs"),
        (lambda es: es.step(text(3)[0], code_length, text(3)[1], per_pair=True), "4 pairs"),
        (lambda es: IntegerEggroll(nn.Linear(2, 2)), "integer layers"),
        (lambda es: IntegerLinear(8, 8, bits=9), "bits"),
        (lambda es: IntegerLinear(8, 8, shift=20, bias_shift=20)(torch.zeros(1, 8, dtype=torch.int8)), "below 2"),
        (lambda es: code_length(torch.zeros(1, 257, dtype=torch.int8), torch.zeros(1).long()), "256 symbols"),
    ],
)
def test_wrong_calls_are_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call(IntegerEggroll(Model(), pop_size=8))
