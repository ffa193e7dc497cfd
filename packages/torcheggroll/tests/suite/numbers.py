"""Numbers that leave torch, branches, random numbers, and transforms inside a forward."""

from contextlib import suppress

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

from suite.case import Case, Run, floats

with suppress(ImportError):  # the cases that need it say so
    import numpy as np


def _case(name, how, inputs=None, **more):
    def make():
        return Run(how, a=nn.Linear(8, 6), b=nn.Linear(6, 6), out=nn.Linear(6, 3))

    return Case(name, make, inputs or floats(5, 8), **more)


def _numpy(m, x):
    return m.out(torch.from_numpy(np.tanh(m.a(x).numpy())))


def _numpy_function(m, x):
    return m.out(torch.as_tensor(np.tanh(np.asarray(m.a(x)))))


def _item(m, x):
    h = m.a(x)
    return m.out(h / (1 + abs(h.mean().item())))


def _branch(m, x):
    h = m.a(x)
    return m.out(h) if float(h.sum()) > 0 else -m.out(h)


def _agreed_branch(m, x):
    h = m.a(x)
    if torch.isnan(h).any():
        h = torch.nan_to_num(h)
    if h.shape[0] > 3 and bool((h.abs() < 1e6).all()):
        h = h * 2
    return m.out(h)


def _halting(m, x):
    h, total, n = m.a(x), torch.zeros(x.shape[0]), 0
    while total.min() < 0.9 and n < 5:
        total = total + torch.sigmoid(m.b(h)[:, 0])
        h, n = torch.tanh(m.b(h)), n + 1
    return m.out(h)


def _fixed_point(m, x):
    z = torch.zeros(x.shape[0], 6)
    for _ in range(20):
        new = torch.tanh(m.a(x) + 0.3 * m.b(z))
        if torch.norm(new - z) < 1e-3:
            break
        z = new
    return m.out(z)


def _mask_rows(m, x):
    h = m.a(x)
    return m.out(h[h[:, 0] > 0]).sum(0)


def _argmax(m, x):
    h = m.a(x)
    return m.out(F.one_hot(h.argmax(-1), 6).float() * h)


def _topk(m, x):
    h = m.a(x)
    return m.out(h.topk(6, -1).values + h.sort(-1, descending=True).values)


def _equal(m, x):
    h = m.a(x)
    return m.out(h if torch.equal(h, h.abs()) else h * 2)


def _gather(m, x):
    h = m.a(x)
    return m.out(h.gather(1, h.argsort(-1)))


def _quantile(m, x):
    h = m.a(x)
    return m.out(h - h.quantile(0.5, dim=0) + h.logsumexp(-1, keepdim=True))


def _linear_algebra(m, x):
    h = m.a(x)
    return m.out(torch.linalg.solve(h.T @ h + torch.eye(6), h.T).T)


def _dropout(m, x):
    return m.out(F.dropout(torch.tanh(m.a(x)), 0.3, training=True))


def _noise(m, x):
    return m.out(m.a(x) + 0.3 * torch.randn_like(m.a(x)))


def _plain_noise(m, x):
    return m.out(m.a(x + 0.3 * torch.randn(x.shape)) * torch.rand(6))


def _gumbel(m, x):
    return m.out(F.gumbel_softmax(m.a(x), tau=0.7))


def _bernoulli(m, x):
    return m.out(m.a(x) * torch.bernoulli(torch.full((x.shape[0], 6), 0.5))) + torch.normal(m.out(m.a(x)), 0.1)


def _multinomial(m, x):
    drawn = torch.multinomial(m.a(x).softmax(-1), 2, replacement=True)
    return m.out(m.a(x)) + m.out(m.a(x).gather(1, drawn).repeat(1, 3))


def _numpy_noise(m, x):
    return m.out(m.a(x) + torch.from_numpy(np.random.standard_normal(6).astype(np.float32)))


def _stochastic_depth(m, x):
    h = m.a(x)
    if torch.rand(()) > 0.3:
        h = h + m.b(h)
    return m.out(h)


def _vmapped(m, x):
    return torch.func.vmap(lambda row: m.out(torch.tanh(m.a(row))))(x)


def _vmapped_later(m, x):
    h = m.a(x)
    return torch.func.vmap(lambda row: m.out(row - row.mean()))(h)


def _inner_gradient(m, x):
    def energy(z):
        return torch.tanh(m.a(z)).sum()

    return torch.func.grad(energy)(x)


def _checkpointed(m, x):
    return m.out(checkpoint(lambda z: torch.tanh(m.a(z)), x, use_reentrant=False))


class Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale):
        return torch.tanh(x * scale) + torch.sign(x).mean(0)

    @staticmethod
    def backward(ctx, grad):
        return grad, None


def _own_function(m, x):
    return m.out(Sign.apply(m.a(x), m.b.weight[0, 0]))


def _hooked():
    model = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 3))
    model[0].register_forward_hook(lambda module, args, out: out.clamp(max=out.mean() + 1))
    model[1].register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    return model


def _functional(m, x):
    own = {name: p * 1.5 for name, p in m.b.named_parameters()}
    return m.out(torch.func.functional_call(m.b, own, (m.a(x),)))


def _complex(m, x):
    z = torch.complex(m.a(x), m.b(m.a(x)))
    return m.out((z * z.conj()).real + z.angle())


def _dictionary(m, x):
    h = m.a(x)
    return {"heads": [m.out(h), (h, None)], "count": 3}


NUMBERS = [
    _case("numpy", _numpy, needs="numpy", engine="loop"),
    _case("numpy by its function", _numpy_function, needs="numpy", engine="loop"),
    _case("item", _item, engine="loop"),
    _case("branch on a number", _branch, engine="loop"),
    _case("branch that all agree on", _agreed_branch),
    _case("adaptive computation", _halting, apart=0.02),
    _case("fixed point", _fixed_point),
    _case("rows by a mask", _mask_rows, apart=0.02),
    _case("argmax", _argmax),
    _case("topk and sort", _topk),
    _case("torch.equal", _equal),
    _case("gather", _gather),
    _case("quantile and logsumexp", _quantile),
    _case("linear algebra", _linear_algebra),
    _case("vmap inside", _vmapped, engine="loop"),
    _case("vmap over activations", _vmapped_later, engine="loop"),
    _case("gradient inside", _inner_gradient, engine="loop"),
    _case("checkpoint", _checkpointed),
    _case("autograd.Function", _own_function),
    Case("hooks", _hooked, floats(5, 8)),
    _case("functional_call with derived weights", _functional),
    _case("complex activations", _complex),
    _case("nested outputs", _dictionary),
]
RANDOM = [
    _case("dropout in evaluation", _dropout, random=True),
    _case("noise like activations", _noise, random=True),
    _case("noise on the input", _plain_noise, random=True),
    _case("Gumbel softmax", _gumbel, random=True),
    _case("Bernoulli and normal", _bernoulli, random=True),
    _case("multinomial", _multinomial, random=True),
    _case("numbers of numpy", _numpy_noise, random=True, needs="numpy"),
    _case("stochastic depth", _stochastic_depth, random=True),
]
