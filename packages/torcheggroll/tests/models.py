"""One small model per op of the library."""

import torch
from torch import nn
from torch.nn import functional


class Embedded(nn.Module):
    def __init__(self):
        super().__init__()
        self.token, self.position, self.head = nn.Embedding(11, 8), nn.Embedding(5, 8), nn.Linear(8, 11)

    def forward(self, x):
        return self.head(self.token(x) + self.position(torch.arange(x.shape[1])))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(11, 8)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.token.weight

    def forward(self, x):
        return self.head(torch.tanh(self.token(x)))


class Attending(nn.Module):
    def __init__(self, need_weights=False):
        super().__init__()
        self.attention, self.need_weights = nn.MultiheadAttention(8, 2, batch_first=True), need_weights

    def forward(self, x):
        return self.attention(x, x, x, need_weights=self.need_weights)[0]


class Crossed(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2)

    def forward(self, x):
        return self.attention(x, x + 1, x + 1)[0]


class Fused(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8, bias=False)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.qkv(self.norm(x)).view(b, t, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, d)
        return x + self.out(y)


class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.shift, self.gain = (nn.Parameter(torch.randn(s)) for s in ((8, 6), (6,), ()))

    def forward(self, x):
        return self.gain * (x @ self.weight + self.shift) @ self.weight.T


class NoRule(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 6))

    def forward(self, x):
        return torch.tensordot(x, self.weight, 1)


class Conv1D(nn.Module):
    """Transformers' own layer, by its formula: weight (in, out)."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(8, 6)), nn.Parameter(torch.randn(6))

    def forward(self, x):
        return torch.addmm(self.bias, x.view(-1, 8), self.weight).view(*x.shape[:-1], 6)


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.rnn, self.head = kind(8, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


def floats(*size):
    return torch.randn(*size)


def tokens(*size):
    return torch.randint(0, 11, size)


# label: model, one member's input
FACTORED = {
    "Linear": (lambda: nn.Linear(8, 6), lambda: floats(5, 8)),
    "Linear without bias, three dimensions": (lambda: nn.Linear(8, 6, bias=False), lambda: floats(2, 5, 8)),
    "MLP": (lambda: nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)), lambda: floats(5, 8)),
    "Embedding": (Embedded, lambda: tokens(3, 5)),
    "tied weights": (Tied, lambda: tokens(3, 5)),
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1), lambda: floats(3, 4, 9)),
    "Conv2d": (lambda: nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 1)), lambda: floats(3, 4, 7, 6)),
    "Conv2d in groups": (lambda: nn.Conv2d(4, 6, 3, groups=2, dilation=2), lambda: floats(3, 4, 9, 8)),
    "LayerNorm": (lambda: nn.Sequential(nn.Linear(8, 6), nn.LayerNorm(6)), lambda: floats(5, 8)),
    "LayerNorm of two dimensions": (lambda: nn.LayerNorm((4, 6)), lambda: floats(5, 4, 6)),
    "RMSNorm": (lambda: nn.Sequential(nn.RMSNorm(8), nn.Linear(8, 6)), lambda: floats(5, 8)),
    "GroupNorm": (lambda: nn.Sequential(nn.Conv1d(4, 6, 3), nn.GroupNorm(2, 6)), lambda: floats(3, 4, 9)),
    "BatchNorm": (lambda: nn.Sequential(nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6)), lambda: floats(3, 4, 9)),
    "MultiheadAttention": (Attending, lambda: floats(3, 5, 8)),
    "MultiheadAttention with weights": (lambda: Attending(True), lambda: floats(3, 5, 8)),
    "cross attention": (Crossed, lambda: floats(5, 3, 8)),
    "fused attention": (Fused, lambda: floats(3, 5, 8)),
    "bare parameters": (Bare, lambda: floats(5, 8)),
    "Conv1D of Transformers": (Conv1D, lambda: floats(2, 5, 8)),
}
LOOPED = {
    "GRU": (lambda: Recurrent(nn.GRU), lambda: floats(3, 5, 8)),
    "LSTM": (lambda: Recurrent(nn.LSTM), lambda: floats(3, 5, 8)),
}
