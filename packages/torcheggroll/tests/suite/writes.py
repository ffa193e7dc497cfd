"""Writes into tensors, tensors as keywords, and state that a forward leaves behind."""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from suite.case import Case, Run, floats, weight


def _net(how, **parts):
    return lambda: Run(how, a=nn.Linear(8, 6), b=nn.Linear(6, 6), out=nn.Linear(6, 3), **parts)


def _case(name, how, inputs=None, **more):
    return Case(name, _net(how, **more.pop("parts", {})), inputs or floats(5, 8), **more)


def _steps(m, x):
    h = torch.zeros(x.shape[0], 6)
    for t in range(3):
        h = torch.tanh(m.a(x) * (t + 1) + m.b(h))
        yield t, h


def _setitem(m, x):
    out = torch.zeros(3, x.shape[0], 6)
    for t, h in _steps(m, x):
        out[t] = h
    return m.out(out[-1] + out[0])


def _view_copy(m, x):
    out = torch.zeros(3, x.shape[0], 6)
    for t, h in _steps(m, x):
        row = out[t]
        row.copy_(h)
    return m.out(out.sum(0))


def _unbind_copy(m, x):
    out = torch.zeros(3, x.shape[0], 6)
    rows = out.unbind(0)
    for t, h in _steps(m, x):
        rows[t].add_(h)
    return m.out(out.flatten(0, 1).view(3, -1, 6).mean(0))


def _index_copy(m, x):
    out = torch.zeros(3, x.shape[0], 6)
    for t, h in _steps(m, x):
        out.index_copy_(0, torch.tensor([t]), h.unsqueeze(0))
    return m.out(out[1])


def _index_add(m, x):
    out = torch.zeros(3, 6)
    out.index_add_(0, torch.arange(x.shape[0]) % 3, torch.tanh(m.a(x)))
    return m.out(out)


def _scatter(m, x):
    h = torch.tanh(m.a(x))
    out = torch.zeros(x.shape[0], 9)
    out.scatter_(1, (torch.arange(6) + 2).expand(x.shape[0], 6), h)
    return m.out(out[:, 2:8])


def _scatter_add(m, x):
    h = torch.tanh(m.a(x))
    return m.out(torch.zeros(x.shape[0], 6).scatter_add_(1, (torch.arange(6) % 4).expand(x.shape[0], 6), h))


def _masked_scatter(m, x):
    h = torch.tanh(m.a(x))
    mask = (torch.arange(12) % 2 == 0).expand(x.shape[0], 12)
    return m.out(torch.zeros(x.shape[0], 12).masked_scatter_(mask, h)[:, ::2])


def _index_put(m, x):
    out = torch.zeros(x.shape[0], 6)
    out[torch.arange(x.shape[0]).flip(0)] = torch.tanh(m.a(x))
    return m.out(out)


def _boolean_put(m, x):
    out = torch.ones(x.shape[0], 6)
    keep = torch.arange(x.shape[0]) % 2 == 0
    out[keep] = torch.tanh(m.a(x))[keep]
    return m.out(out)


def _out_keyword(m, x):
    buffer = torch.empty(x.shape[0], 6)
    torch.tanh(m.a(x), out=buffer)
    torch.add(buffer, m.b(buffer), out=buffer)
    return m.out(buffer)


def _out_resized(m, x):
    buffer = torch.empty(0)
    torch.mul(m.a(x), 2.0, out=buffer)
    return m.out(buffer)


def _onto_plain(m, x):
    total = torch.ones(x.shape[0], 6)
    total += m.a(x)
    total.mul_(m.b(total.clone()))
    total.addcmul_(m.a(x), torch.tensor(0.5))
    return m.out(total)


def _broadcast(m, x):
    bias = m.a(x).mean(0)
    scale = torch.ones(2, x.shape[0], 6)
    scale *= bias
    return m.out(scale.sum(0))


def _fill_diagonal(m, x):
    square = torch.eye(6)
    square.diagonal().copy_(m.a(x)[0])
    return m.out(m.a(x) @ square)


def _lerp(m, x):
    state = torch.zeros(x.shape[0], 6)
    for _, h in _steps(m, x):
        state.lerp_(h, 0.3)
    return m.out(state)


def _masked_fill(m, x):
    h = m.a(x).masked_fill_(torch.arange(6) > 3, 0.5)
    h[:, 0] = 1.0
    h[h > 0.7] = 0.7
    return m.out(h)


def _input_written(m, x):
    x.mul_(0.5)
    return m.out(torch.tanh(m.a(x)))


def _input_filled(m, x):
    x[:, :6] = torch.tanh(m.a(x))
    return m.out(x[:, :6])


def _own_copy(m, x):
    x = x.clone()
    x[:, 2:8] += m.a(x)
    return m.out(x[:, 2:8])


def _aliased(m, x):
    out = torch.zeros(4, x.shape[0], 6)
    flat, last = out.view(-1, 6), out[3]
    out[3] = torch.tanh(m.a(x))
    return m.out(last + flat[-x.shape[0] :])


def _set_data(m, x):
    out = torch.zeros(x.shape[0], 6)
    out.data.copy_(torch.tanh(m.a(x)))
    return m.out(out)


def _cumulative(m, x):
    h = m.a(x)
    torch.cumsum(h, 0, out=h)
    h.clamp_(min=-1).sqrt_().nan_to_num_(0.1)
    return m.out(h)


WRITES = [
    _case("written row by row", _setitem),
    _case("written through a view", _view_copy),
    _case("written through unbound rows", _unbind_copy),
    _case("index_copy_", _index_copy),
    _case("index_add_", _index_add),
    _case("scatter_", _scatter),
    _case("scatter_add_", _scatter_add),
    _case("masked_scatter_", _masked_scatter),
    _case("written by a list of rows", _index_put),
    _case("written by a mask", _boolean_put),
    _case("out=", _out_keyword),
    _case("out= of no size", _out_resized),
    _case("added onto a plain tensor", _onto_plain),
    _case("broadcast onto a plain tensor", _broadcast),
    _case("diagonal", _fill_diagonal),
    _case("lerp_", _lerp),
    _case("masked_fill_", _masked_fill),
    _case("the input is written", _input_written),
    _case("the input is filled", _input_filled),
    _case("a copy of the input is written", _own_copy),
    _case("views from before the write", _aliased),
    _case("written through data", _set_data),
    _case("cumulative sum onto itself", _cumulative),
]


def _clamp(m, x, z):
    return m.out(torch.clamp(m.a(x), min=m.b(z) - 1, max=m.b(z) + 1))


def _add_other(m, x, z):
    return m.out(torch.add(m.a(x), other=m.b(z), alpha=0.5).mul(other=m.b(z)))


def _where(m, x, z):
    return m.out(torch.where(x[:, :6] > 0, input=m.a(x), other=m.b(z)))


def _lerp_keywords(m, x, z):
    return m.out(torch.lerp(input=m.a(x), end=m.b(z), weight=torch.sigmoid(m.b(z))))


def _linear_keywords(m, x, z):
    return m.out(F.linear(bias=m.b(z), weight=m.w, input=x))


def _layer_norm(m, x, z):
    return m.out(F.layer_norm(m.a(x), (6,), weight=m.b(z), bias=m.shift))


def _two(z):
    return lambda: (torch.randn(2, 8), torch.randn(*z))


KEYWORDS = [
    _case("clamp(min=, max=)", _clamp, _two((6,))),
    _case("add(other=)", _add_other, _two((6,))),
    _case("where(input=, other=)", _where, _two((6,))),
    _case("lerp(end=, weight=)", _lerp_keywords, _two((6,))),
    _case("linear(bias=) of a member's own", _linear_keywords, _two((6,)), parts={"w": weight(6, 8)}),
    _case("layer_norm(weight=) of a member's own", _layer_norm, _two((6,)), parts={"shift": weight(6)}),
    Case("maximum of two outputs", lambda: Run(lambda m, x: m.a(x).max(dim=-1, keepdim=True).values + m.a(x),
                                               a=nn.Linear(8, 6)), floats(5, 8)),
]  # fmt: skip


def _ema_reassigned(m, x):
    y = m.a(x)
    m.mean = 0.9 * m.mean + 0.1 * y.mean(0)
    return m.out(y - m.mean)


def _ema_in_place(m, x):
    y = m.a(x)
    m.mean.mul_(0.9).add_(0.1 * y.mean(0))
    return m.out(y - m.mean)


def _batch_norm_by_hand(m, x):
    return m.out(F.batch_norm(m.a(x), m.mean, m.variance, None, None, True, 0.3) + m.mean)


def _counter(m, x):
    m.count += 1
    m.calls = getattr(m, "calls", 0) + 1
    return m.out(m.a(x) * m.count.float() / m.calls)


def _kept(m, x):
    state = getattr(m, "state", None)
    m.state = m.a(x) if state is None else 0.9 * state + m.a(x)
    return m.out(torch.tanh(m.state) + m.b(m.state))


def _listed(m, x):
    m.seen.append(torch.tanh(m.a(x)))
    m.notes["last"] = m.b(m.seen[-1])
    return m.out(torch.stack(m.seen[-2:]).sum(0) + m.notes["last"])


def _queue(m, x):
    keys = torch.tanh(m.a(x))
    m.queue[: x.shape[0]] = keys
    m.queue.copy_(m.queue.roll(1, 0))
    return keys @ m.queue.T


def _kv_cache(m, x):
    outs = []
    for t in range(x.shape[1]):
        q = m.q(x[:, t])
        m.keys[:, t] = m.k(x[:, t])
        m.values[:, t] = m.v(x[:, t])
        share = (q[:, None] @ m.keys[:, : t + 1].transpose(1, 2)).softmax(-1)
        outs.append(m.out((share @ m.values[:, : t + 1])[:, 0]))
    return torch.stack(outs, 1)


class Memory:
    """A cache that is no module and no container."""

    def __init__(self):
        self.keys = torch.zeros(2, 5, 8)
        self.length = 0

    def update(self, new):
        self.keys.index_copy_(1, torch.arange(self.length, self.length + new.shape[1]), new)
        self.length += new.shape[1]
        return self.keys


def _static_cache(m, x):
    keys = m.cache.update(m.k(x))
    return m.out((m.q(x) @ keys.transpose(1, 2)).softmax(-1) @ keys)


def _lazy_table(m, x):
    if getattr(m, "table", None) is None or m.table.shape[0] < x.shape[0]:
        m.table = torch.arange(x.shape[0], dtype=torch.float32)[:, None].cos()
    return m.out(m.a(x) + m.table)


def _with(make, **attributes):
    def made():
        model = make()
        for name, value in attributes.items():
            setattr(model, name, value())
        return model

    return made


def _cache():
    return {"q": nn.Linear(8, 8), "k": nn.Linear(8, 8), "v": nn.Linear(8, 8), "out": nn.Linear(8, 3)}


STATE = [
    _case("buffer reassigned", _ema_reassigned, parts={"mean": torch.zeros(6)}),
    _case("buffer written", _ema_in_place, parts={"mean": torch.zeros(6)}),
    _case("batch norm in training", _batch_norm_by_hand, parts={"mean": torch.zeros(6), "variance": torch.ones(6)}),
    _case("counters", _counter, parts={"count": torch.zeros((), dtype=torch.int64)}),
    _case("state on the module", _kept),
    Case("state in a list and a dictionary", _with(_net(_listed), seen=list, notes=dict), floats(5, 8)),
    Case("memory queue", lambda: Run(_queue, a=nn.Linear(8, 6), queue=torch.zeros(9, 6)), floats(5, 8)),
    Case("cache in buffers", lambda: Run(_kv_cache, **_cache(), keys=torch.zeros(2, 5, 8), values=torch.zeros(2, 5, 8)),
         floats(2, 5, 8)),
    Case("cache in an object", _with(lambda: Run(_static_cache, **_cache()), cache=Memory), floats(2, 5, 8)),
    _case("table made at the first call", _lazy_table),
]  # fmt: skip
