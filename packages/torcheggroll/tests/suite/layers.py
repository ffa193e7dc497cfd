"""Layers of torch, alone and in small networks, and functions that use bare parameters."""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from suite.case import Case, Run, floats, tokens, weight


def _cosine(m, x):
    return F.linear(F.normalize(x, dim=-1), F.normalize(m.w, dim=-1)) * m.gain.exp()


def _hyper(m, x):
    made = m.net(m.code).view(5, 8)
    return F.linear(x, made, m.bias)


def _film(m, x, z):
    scale, shift = m.film(z).chunk(2, -1)
    return m.out(m.norm(m.inner(x)) * (1 + scale) + shift)


def _mixer(m, x):
    x = x + m.tokens(m.n1(x).transpose(1, 2)).transpose(1, 2)
    return x + m.channels(m.n2(x))


def _kan(m, x):
    basis = torch.stack([torch.exp(-((x - c) ** 2)) for c in (-1.0, 0.0, 1.0)], -1)
    return torch.einsum("bik,iok->bo", basis, m.c)


def _fourier(m, x):
    z = torch.fft.rfft(x, dim=-1) * torch.view_as_complex(m.kernel)
    return m.out(torch.fft.irfft(z, n=x.shape[-1], dim=-1))


def _highway(m, x):
    gate = torch.sigmoid(m.gate(x))
    return gate * torch.tanh(m.inner(x)) + (1 - gate) * x


def _bag(m, x):
    return m.head(m.bag(x))


def _unfold(m, x):
    cols = F.unfold(x, 3)
    return torch.einsum("ok,bkl->bol", m.w, cols)


def _vae(m, x):
    mean, _ = m.enc(x).chunk(2, -1)
    return m.dec(mean)


def _norms(m, x):
    return m.g(m.c(x)).flatten(1)


def _distance(m, x):
    return torch.cdist(x, m.centres)


def _outer(m, x):
    return (x[:, :, None] * m.u * m.v[None, :]).sum(1)


def _unet(m, x):
    a = torch.relu(m.down(x))
    b = torch.relu(m.mid(F.max_pool2d(a, 2)))
    return m.up(torch.cat([F.interpolate(b, scale_factor=2, mode="bilinear"), a], 1))


LAYERS = [
    Case("Linear", lambda: nn.Linear(8, 6), floats(5, 8)),
    Case("Linear, three dimensions", lambda: nn.Linear(8, 6, bias=False), floats(2, 5, 8)),
    Case("Linear, one dimension", lambda: nn.Linear(8, 6), floats(8)),
    Case("Bilinear", lambda: nn.Bilinear(4, 5, 6), lambda: (torch.randn(3, 4), torch.randn(3, 5))),
    Case(
        "MLP of many activations",
        lambda: nn.Sequential(
            nn.Linear(8, 16), nn.ReLU(inplace=True), nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 16), nn.SiLU(),
            nn.Linear(16, 16), nn.LeakyReLU(0.1, inplace=True), nn.Linear(16, 16), nn.Hardswish(), nn.Linear(16, 4),
            nn.LogSoftmax(-1),
        ),
        floats(5, 8),
    ),
    Case("Embedding and head", lambda: nn.Sequential(nn.Embedding(13, 8), nn.Linear(8, 13)), tokens(3, 5)),
    Case("EmbeddingBag", lambda: Run(_bag, bag=nn.EmbeddingBag(13, 8), head=nn.Linear(8, 4)), tokens(3, 5)),
    Case("LayerNorm", lambda: nn.Sequential(nn.Linear(8, 6), nn.LayerNorm(6)), floats(5, 8)),
    Case("RMSNorm", lambda: nn.Sequential(nn.RMSNorm(8), nn.Linear(8, 6)), floats(5, 8)),
    Case("GroupNorm", lambda: nn.Sequential(nn.Conv1d(4, 6, 3), nn.GroupNorm(2, 6)), floats(3, 4, 9)),
    Case("BatchNorm, running statistics", lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)),
         floats(3, 3, 7, 7)),
    Case("BatchNorm, statistics of the batch",
         lambda: nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6, track_running_stats=False)), floats(5, 8)),
    Case("InstanceNorm", lambda: Run(_norms, c=nn.Conv1d(4, 6, 3), g=nn.InstanceNorm1d(6, affine=True)),
         floats(3, 4, 9)),
    Case("LocalResponseNorm", lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.LocalResponseNorm(3)), floats(2, 3, 6, 6)),
    Case("PReLU", lambda: nn.Sequential(nn.Linear(8, 6), nn.PReLU(6), nn.Linear(6, 3)), floats(5, 8)),
    Case("Conv1d", lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1), floats(3, 4, 9)),
    Case("Conv2d in groups, reflected", lambda: nn.Conv2d(4, 6, 3, groups=2, padding=1, padding_mode="reflect"),
         floats(3, 4, 7, 6)),
    Case("Conv2d, depthwise and pointwise",
         lambda: nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 6, 1), nn.Flatten()), floats(2, 4, 6, 6)),
    Case("Conv3d", lambda: nn.Conv3d(2, 3, 2), floats(2, 2, 4, 4, 4)),
    Case("ConvTranspose1d", lambda: nn.ConvTranspose1d(4, 3, 3, stride=2), floats(2, 4, 5)),
    Case("ConvTranspose2d", lambda: nn.ConvTranspose2d(4, 3, 3, stride=2), floats(2, 4, 5, 5)),
    Case("CNN with pooling",
         lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.Tanh(),
                               nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4)), floats(2, 3, 10, 10)),
    Case("PixelShuffle", lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.PixelShuffle(2)), floats(2, 3, 5, 5)),
    Case("U-Net", lambda: Run(_unet, down=nn.Conv2d(3, 4, 3, padding=1), mid=nn.Conv2d(4, 4, 3, padding=1),
                              up=nn.Conv2d(8, 2, 1)), floats(2, 3, 8, 8)),
    Case("Unfold and einsum", lambda: Run(_unfold, w=weight(5, 27)), floats(2, 3, 6, 6)),
    Case("MLP-Mixer", lambda: Run(_mixer, n1=nn.LayerNorm(8), n2=nn.LayerNorm(8),
                                  tokens=nn.Sequential(nn.Linear(6, 12), nn.GELU(), nn.Linear(12, 6)),
                                  channels=nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8))),
         floats(2, 6, 8)),
    Case("bare parameters", lambda: Run(lambda m, x: m.gain * (x @ m.w + m.b) @ m.w.T, w=weight(8, 6), b=weight(6),
                                        gain=weight()), floats(5, 8)),
    Case("bare matrix from the left", lambda: Run(lambda m, x: (m.w @ x.T).T + m.b, w=weight(6, 8), b=weight(6)),
         floats(5, 8)),
    Case("a slice of a bare parameter", lambda: Run(lambda m, x: m.l(x + m.pe[: x.shape[1]]), pe=weight(9, 8),
                                                    l=nn.Linear(8, 3)), floats(2, 5, 8)),
    Case("einsum", lambda: Run(lambda m, x: torch.einsum("bi,ij->bj", x, m.w), w=weight(8, 6)), floats(5, 8)),
    Case("cosine classifier", lambda: Run(_cosine, w=weight(6, 8), gain=weight()), floats(5, 8)),
    Case("highway gate", lambda: Run(_highway, gate=nn.Linear(8, 8), inner=nn.Linear(8, 8)), floats(5, 8)),
    Case("FiLM", lambda: Run(_film, film=nn.Linear(4, 12), inner=nn.Linear(8, 6), norm=nn.LayerNorm(6),
                             out=nn.Linear(6, 3)), lambda: (torch.randn(5, 8), torch.randn(5, 4))),
    Case("hypernetwork", lambda: Run(_hyper, net=nn.Linear(3, 40), code=weight(3), bias=weight(5)), floats(5, 8)),
    Case("radial basis network", lambda: Run(_distance, centres=weight(6, 8)), floats(5, 8)),
    Case("spline layer", lambda: Run(_kan, c=weight(8, 6, 3)), floats(5, 8)),
    Case("outer products", lambda: Run(_outer, u=weight(8, 1), v=weight(6)), floats(5, 8)),
    Case("Fourier layer", lambda: Run(_fourier, kernel=weight(9, 2), out=nn.Linear(16, 3)), floats(5, 16)),
    Case("autoencoder", lambda: Run(_vae, enc=nn.Linear(8, 8), dec=nn.Linear(4, 8)), floats(5, 8)),
]  # fmt: skip
