"""The path on lists: as many operations for a thousand tensors as for three, and the noise of every other path."""

import pytest
import torch
from thermolion import ThermoLion, _noise
from thermolion._paths import foreach
from torch.nn import Parameter
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

VIEWS = (
    "view",
    "_unsafe_view",
    "detach",
    "split",
    "split_with_sizes",
    "as_strided",
    "slice",
    "select",
    "squeeze",
    "unsqueeze",
)
VIEWS += ("expand", "t", "transpose", "unbind")
SENT = ("_to_copy",)  # a copy from the host's memory is no launch


class Launches(TorchDispatchMode):
    """Lists the operations that compute on a device, and counts the bytes of new tensors there."""

    def __init__(self, device):
        super().__init__()
        self.device, self.found, self.bytes = device, [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        out = None if name == "_fused_sgd_" else func(*args, **(kwargs or {}))  # which knows no tensors without data
        tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, torch.Tensor)]
        here = any(x.device.type == self.device for x in tensors)
        if here and name.startswith("empty"):
            self.bytes += out.numel() * out.element_size()
        elif here and name not in VIEWS + SENT:
            self.found.append(name)
        return out


def step_on_meta(sizes, **settings):
    """Returns what a step of tensors without data launches, once the first two have been taken."""
    params = [Parameter(torch.empty(size, device="meta")) for size in sizes]
    optimizer = ThermoLion(params, foreach=True, seed=0, **settings)
    for param in params:
        param.grad = torch.empty_like(param)
    for _ in range(3):
        with Launches("meta") as launches:
            optimizer.step()
    return launches


@pytest.fixture(autouse=True)
def as_on_cuda(monkeypatch):
    monkeypatch.setattr(_noise, "VIEWING", {"cpu", "meta"})


KINDS = [({"temp_decay": 1e-3}, 10), ({"temp_decay": 1.0}, 39), ({"temp_decay": 1.0, "maximize": True}, 40)]


@pytest.mark.parametrize(("settings", "most"), KINDS, ids=["cold", "warm", "maximize"])
def test_the_launches_of_a_step_do_not_grow_with_the_tensors(settings, most):
    counts = [len(step_on_meta([5000, *[99] * n], **settings).found) for n in (2, 1000)]
    assert counts[0] == counts[1] <= most


def test_temporaries_are_bounded_by_rows(monkeypatch):
    monkeypatch.setattr(foreach, "BLOCK", 1 << 16)
    short, long = (step_on_meta([50_000] * n, temp_decay=1.0) for n in (10, 20))
    assert len(long.found) == 2 * len(short.found)


@pytest.mark.parametrize("sizes", [(3,), (99, 1, 2048, 2049, 5000, 70_000)], ids=str)
def test_a_row_holds_the_noise_of_its_tensors_to_the_bit(sizes):
    """From m = v = 0 and g = 0, θ moves by η σ ξ with σ² = 1e-10; ξ of float64 parameters is multiplied in as it is."""
    results = []
    for path in ({"foreach": True}, {"foreach": False}):
        params = [Parameter(torch.zeros(size, dtype=torch.float64)) for size in sizes]
        optimizer = ThermoLion(params, lr=1.0, weight_decay=0.0, seed=7, **path)
        for param in params:
            param.grad = torch.zeros_like(param)
        optimizer.step()
        results.append(torch.cat([param.detach() for param in params]))
    torch.testing.assert_close(*results, rtol=1e-14, atol=0)


def test_a_deviation_that_is_drawn_with_is_the_deviation():
    keys = [torch.tensor([[word]], dtype=torch.int32) for word in (5, -7, 11, -13)]
    lanes = _noise.counters_from(0, 1024, torch.device("cpu"))
    drawn = []
    for scale in (None, torch.tensor([[-2 * 0.3**2]])):
        scratch = _noise.Scratch(
            *(torch.empty(1, 1024, dtype=torch.int32) for _ in range(3)), torch.empty(1, 1024), torch.empty(1, 2, 1024)
        )
        radius, waves = _noise.pairs(lanes, keys, scratch, scale)
        drawn.append((waves * radius.unsqueeze(1)).view(-1))
    torch.testing.assert_close(drawn[1], 0.3 * drawn[0], rtol=1e-6, atol=0)
    assert torch.equal(drawn[0], _noise.draw(0, 2048, [key.view(()) for key in keys]))
