"""Attention, recurrence, mixtures of experts and spiking networks."""

import math

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from suite.case import Case, Run, floats, tokens, weight


class Heads(nn.Module):
    """Self-attention through one packed projection; ``how`` gets queries, keys and values ``(B, H, T, D)``."""

    def __init__(self, how, groups=2):
        super().__init__()
        self.how, self.groups = how, groups
        self.q, self.kv, self.out = nn.Linear(16, 16), nn.Linear(16, 2 * groups * 8), nn.Linear(16, 16)

    def forward(self, x):
        b, t, _ = x.shape
        q = self.q(x).view(b, t, 2, 8).transpose(1, 2)
        k, v = self.kv(x).view(b, t, 2, self.groups, 8).permute(2, 0, 3, 1, 4)
        return self.out(self.how(q, k, v).transpose(1, 2).reshape(b, t, 16))


def _by_hand(q, k, v):
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    hidden = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v


def _alibi(q, k, v):
    t = q.shape[-2]
    bias = -(torch.arange(t)[:, None] - torch.arange(t)).abs() * torch.tensor([0.5, 0.25])[:, None, None]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def _rotary(q, k, v):
    angle = torch.arange(q.shape[-2])[:, None] / 10 ** torch.linspace(0, 1, 4)
    cos, sin = torch.cat([angle.cos()] * 2, -1), torch.cat([angle.sin()] * 2, -1)

    def turn(x):
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat([-b, a], -1) * sin

    return F.scaled_dot_product_attention(turn(q), turn(k), v, is_causal=True)


def _linear_attention(q, k, v):
    q, k = F.elu(q) + 1, F.elu(k) + 1
    memory = torch.einsum("bhtd,bhte->bhtde", k, v).cumsum(2)
    return torch.einsum("bhtd,bhtde->bhte", q, memory) / (q * k.cumsum(2)).sum(-1, keepdim=True)


def _grouped(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


class Attending(nn.Module):
    def __init__(self, **settings):
        super().__init__()
        self.attention, self.settings = nn.MultiheadAttention(8, 2, batch_first=True), settings

    def forward(self, x, y=None):
        y = x if y is None else y
        return self.attention(x, y, y, **self.settings)[0]


def _padding():
    return torch.tensor([[False] * 5, [False, False, False, True, True]])


def _encoder():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def _decoder():
    return nn.TransformerDecoder(nn.TransformerDecoderLayer(16, 2, 32, batch_first=True), 1)


class Layer(nn.Module):
    """A recurrent layer of torch and a head."""

    def __init__(self, kind, packed=False, **settings):
        super().__init__()
        self.rnn, self.packed = kind(8, 6, batch_first=True, **settings), packed
        self.head = nn.LazyLinear(3)

    def forward(self, x):
        if self.packed:
            x = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 3, 2]), batch_first=True)
            y = nn.utils.rnn.pad_packed_sequence(self.rnn(x)[0], batch_first=True)[0]
        else:
            y = self.rnn(x)[0]
        return self.head(y[:, -1])


def _made(kind, packed=False, **settings):
    def make():
        layer = Layer(kind, packed, **settings)
        with torch.no_grad():
            layer(torch.randn(3, 5, 8))
        return layer

    return make


def _gru_cell(m, x):
    h = x.new_zeros(x.shape[0], 6)
    for now in x.unbind(1):
        h = m.cell(now, h)
    return m.head(h)


def _lstm_cell(m, x):
    h, c = x.new_zeros(x.shape[0], 6), x.new_zeros(x.shape[0], 6)
    out = torch.zeros(x.shape[0], x.shape[1], 6)
    for t in range(x.shape[1]):
        h, c = m.cell(x[:, t], (h, c))
        out[:, t] = h
    return m.head(out)


def _min_gru(m, x):
    z, h = torch.sigmoid(m.z(x)), m.h(x)
    log_keep = torch.cumsum(F.logsigmoid(-m.z(x)), 1)
    return m.out(log_keep.exp() * torch.cumsum(z * h * (-log_keep).exp(), 1))


def _state_space(m, x):
    decay = torch.sigmoid(m.a)
    power = decay[:, None] ** torch.arange(x.shape[1])
    kernel = (m.c[:, None] * power).flip(-1).unsqueeze(1)
    y = F.conv1d(F.pad(m.inp(x).transpose(1, 2), (x.shape[1] - 1, 0)), kernel, groups=6)
    return m.out(y.transpose(1, 2))


def _conv_lstm(m, x):
    h = c = x.new_zeros(x.shape[0], 4, *x.shape[-2:])
    for now in x.unbind(1):
        i, f, o, g = m.gates(torch.cat([now, h], 1)).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
    return h


def _ode(m, x):
    h = m.inp(x)
    for _ in range(4):
        h += 0.25 * torch.tanh(m.f(h))
    return m.out(h)


def _experts(m, x):
    gate = m.route(x).softmax(-1)
    hidden = torch.relu(torch.einsum("bi,eij->bej", x, m.up))
    return torch.einsum("be,bej,ejo->bo", gate, hidden, m.down)


def _experts_bmm(m, x):
    gate = m.route(x).softmax(-1)
    hidden = torch.relu(torch.bmm(x.expand(4, *x.shape), m.up))
    return (torch.bmm(hidden, m.down) * gate.T[:, :, None]).sum(0)


def _experts_sparse(m, x):
    gate, chosen = m.route(x).softmax(-1).topk(2, -1)
    out = torch.zeros(x.shape[0], 8)
    for e in range(4):
        row, slot = torch.where(chosen == e)
        if len(row):
            out.index_add_(0, row, gate[row, slot, None] * (torch.relu(x[row] @ m.up[e]) @ m.down[e]))
    return out


def _experts_masked(m, x):
    gate, chosen = m.route(x).softmax(-1).topk(2, -1)
    share = torch.zeros_like(m.route(x)).scatter_(-1, chosen, gate)
    return sum(share[:, e, None] * expert(x) for e, expert in enumerate(m.experts))


class Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v):
        return (v > 0).to(v.dtype)

    @staticmethod
    def backward(ctx, grad):
        return grad


def _spiking(m, x):
    v, total = torch.zeros(x.shape[0], 16), 0.0
    for _ in range(4):
        v = 0.9 * v + m.inp(x)
        s = Spike.apply(v - 1.0)
        v = v - s
        total = total + m.out(s)
    return total / 4 + m.leak(x)


def _leaky(m, x):
    v = torch.zeros(x.shape[0], 16)
    spikes = torch.zeros(4, x.shape[0], 16)
    for t in range(4):
        v.mul_(0.9).add_(m.inp(x))
        spikes[t] = torch.sigmoid(4 * (v - 1))
        v -= spikes[t]
    return m.out(spikes.mean(0))


ATTENTION = [
    Case("attention, fused and causal", lambda: Heads(_grouped, 1), floats(2, 5, 16)),
    Case("attention by hand", lambda: Heads(_by_hand), floats(2, 5, 16)),
    Case("attention with ALiBi", lambda: Heads(_alibi), floats(2, 5, 16)),
    Case("attention with rotary positions", lambda: Heads(_rotary), floats(2, 5, 16)),
    Case("linear attention", lambda: Heads(_linear_attention), floats(2, 5, 16)),
    Case("MultiheadAttention", lambda: Attending(need_weights=False), floats(2, 5, 8)),
    Case("MultiheadAttention with weights", Attending, floats(2, 5, 8)),
    Case("MultiheadAttention, padded", lambda: Attending(key_padding_mask=_padding()), floats(2, 5, 8)),
    Case("cross attention", lambda: Attending(need_weights=False),
         lambda: (torch.randn(2, 3, 8), torch.randn(2, 5, 8))),
    Case("TransformerEncoder", _encoder, floats(2, 5, 16)),
    Case("TransformerEncoder, padded", _encoder,
         lambda: {"src": torch.randn(2, 5, 16), "src_key_padding_mask": _padding()}),
    Case("TransformerDecoder", _decoder, lambda: (torch.randn(2, 3, 16), torch.randn(2, 5, 16))),
]  # fmt: skip
RECURRENT = [
    Case("GRU", _made(nn.GRU), floats(3, 5, 8)),
    Case("LSTM in two directions", _made(nn.LSTM, num_layers=2, bidirectional=True), floats(3, 5, 8)),
    Case("LSTM, packed", _made(nn.LSTM, packed=True), floats(3, 5, 8)),
    Case("GRUCell", lambda: Run(_gru_cell, cell=nn.GRUCell(8, 6), head=nn.Linear(6, 3)), floats(3, 5, 8)),
    Case("LSTMCell into a tensor", lambda: Run(_lstm_cell, cell=nn.LSTMCell(8, 6), head=nn.Linear(6, 3)),
         floats(3, 5, 8)),
    Case("minGRU by cumulative sums", lambda: Run(_min_gru, z=nn.Linear(8, 6), h=nn.Linear(8, 6), out=nn.Linear(6, 3)),
         floats(2, 5, 8)),
    Case("diagonal state space", lambda: Run(_state_space, inp=nn.Linear(8, 6), a=weight(6), c=weight(6),
                                             out=nn.Linear(6, 3)), floats(2, 7, 8)),
    Case("convolutional LSTM", lambda: Run(_conv_lstm, gates=nn.Conv2d(6, 16, 3, padding=1)), floats(2, 3, 2, 5, 5)),
    Case("neural differential equation", lambda: Run(_ode, inp=nn.Linear(8, 6), f=nn.Linear(6, 6), out=nn.Linear(6, 3)),
         floats(5, 8)),
]  # fmt: skip
EXPERTS = [
    Case("experts, all at once", lambda: Run(_experts, route=nn.Linear(8, 4), up=weight(4, 8, 6), down=weight(4, 6, 8)),
         floats(5, 8)),
    Case("experts by bmm", lambda: Run(_experts_bmm, route=nn.Linear(8, 4), up=weight(4, 8, 6), down=weight(4, 6, 8)),
         floats(5, 8)),
    Case("experts, the best two, gathered", lambda: Run(_experts_sparse, route=nn.Linear(8, 4), up=weight(4, 8, 6),
                                                        down=weight(4, 6, 8)), floats(5, 8), apart=0.005),
    Case("experts, the best two, masked", lambda: Run(_experts_masked, route=nn.Linear(8, 4), experts=nn.ModuleList(
        nn.Linear(8, 8) for _ in range(4))), floats(5, 8)),
    Case("spiking network", lambda: Run(_spiking, inp=nn.Linear(8, 16), out=nn.Linear(16, 3), leak=nn.Linear(8, 3)),
         floats(5, 8)),
    Case("leaky neurons in place", lambda: Run(_leaky, inp=nn.Linear(8, 16), out=nn.Linear(16, 3)), floats(5, 8)),
]  # fmt: skip
SEQUENCES = [*ATTENTION, *RECURRENT, *EXPERTS, Case("token mixer", lambda: nn.Sequential(
    nn.Embedding(13, 16), Heads(_rotary), nn.LayerNorm(16), nn.Linear(16, 13)), tokens(2, 5))]  # fmt: skip
