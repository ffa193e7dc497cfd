"""Which path a step takes, and how many launches a step on CUDA costs, counted without one."""

import struct
import warnings

import pytest
import torch
from rangerlite import RangerLite
from rangerlite._paths import choose
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
DEFAULT = {"fused": None, "foreach": None, "differentiable": False}
VIEWS = ("view", "detach", "split", "as_strided", "slice", "select", "unsqueeze", "expand", "is_non_overlapping")


class Launches(TorchDispatchMode):
    """Lists the operations that compute on tensors of one device."""

    def __init__(self, device):
        super().__init__()
        self.device, self.found = device, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, torch.Tensor)]
        if any(x.device.type == self.device for x in tensors) and not name.startswith(VIEWS):
            self.found.append(name)
        return out


@pytest.fixture
def found_triton(monkeypatch):
    def say(missing):
        monkeypatch.setattr(choose, "missing_for_triton", lambda device: missing)

    return say


def test_by_default_cuda_takes_the_kernel_where_triton_works(found_triton):
    found_triton("")
    assert choose.is_fused(DEFAULT, CUDA, torch.float32)
    assert not choose.is_fused(DEFAULT, CPU, torch.float32)
    assert not choose.is_fused(DEFAULT, CUDA, torch.float8_e5m2)
    found_triton("no Triton")
    assert not choose.is_fused(DEFAULT, CUDA, torch.float32)


@pytest.mark.parametrize("asked", [{"fused": False}, {"foreach": True}, {"foreach": False}, {"differentiable": True}])
def test_what_the_caller_asks_for_is_what_runs(found_triton, asked):
    found_triton("")
    assert not choose.is_fused(DEFAULT | asked, CUDA, torch.float32)


def test_fused_true_never_looks_for_a_way_out(found_triton):
    found_triton("no Triton")
    assert choose.is_fused(DEFAULT | {"fused": True}, CUDA, torch.float32)


def test_triton_that_cannot_be_had_or_fails_is_said_in_words(monkeypatch):
    fresh = choose.missing_for_triton.__wrapped__
    monkeypatch.setattr(choose, "find_spec", lambda name: None)
    assert fresh(CUDA) == "Triton is not installed"
    monkeypatch.setattr(choose, "find_spec", lambda name: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "An old GPU")
    assert "An old GPU is older" in fresh(CUDA)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    if not torch.cuda.is_available():
        assert "Triton fails here" in fresh(CUDA)


def test_a_slower_path_warns_once(found_triton):
    choose.warn_of_lists.cache_clear()
    with pytest.warns(UserWarning, match="several times slower than its Triton kernel would: no Triton") as found:
        choose.warn_of_lists(CUDA, "no Triton")
    assert len(found) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choose.warn_of_lists(CUDA, "no Triton")
    choose.warn_of_lists.cache_clear()


@pytest.mark.parametrize("momentum", ["keep", "reset", "pullback"])
@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.1, "maximize": True}], ids=str)
def test_without_triton_the_launches_of_a_step_do_not_grow_with_the_tensors(momentum, settings):
    counts = []
    for n in (3, 200):
        params = [torch.nn.Parameter(torch.empty(5, device="meta")) for _ in range(n)]
        optimizer = RangerLite(params, lookahead_steps=2, lookahead_momentum=momentum, **settings)
        for p in params:
            p.grad = torch.empty_like(p)
        for _ in range(8):
            optimizer.step()
        with Launches("meta") as plain:
            optimizer.step()
        with Launches("meta") as pulled_back:
            optimizer.step()
        counts.append((len(plain.found), len(pulled_back.found)))
    assert counts[0] == counts[1]
    assert counts[0][0] < counts[0][1] <= 40


class Recorder:
    """Stands for the kernel, and counts its launches."""

    def __init__(self):
        self.grids = []

    def __getitem__(self, grid):
        def launch(*args, **constants):
            self.grids.append(grid)
            self.arguments = args

        return launch


@pytest.fixture
def recorder(monkeypatch):
    fused_cuda = pytest.importorskip("rangerlite._paths.fused_cuda", reason="needs Triton")
    recorder, tables = Recorder(), choose.AddressTables()
    monkeypatch.setattr(fused_cuda, "step_kernel", recorder)
    monkeypatch.setattr(choose, "is_fused", lambda *_: True)
    monkeypatch.setattr(choose, "step_on_cpu", lambda *args: fused_cuda.step_on_cuda(*args, tables, True))
    return recorder


@pytest.mark.parametrize("settings", [{}, {"capturable": True}, {"lr": torch.tensor(0.01)}], ids=str)
@pytest.mark.parametrize("n", [1, 200])
def test_with_triton_a_step_is_one_launch(recorder, n, settings):
    params = [torch.nn.Parameter(torch.ones(3000)) for _ in range(n)]
    optimizer = RangerLite(params, lookahead_steps=2, **settings)
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()
    for _ in range(3):
        with Launches("cpu") as others:
            optimizer.step()
        assert others.found == []
    assert recorder.grids == [(3 * n,)] * 4
    optimizer.param_groups[0]["lr"] = 0.5
    with Launches("cpu") as others:
        optimizer.step()
    assert others.found == []  # a schedule sends no table


def test_a_learning_rate_on_the_cpu_is_passed_by_value(recorder):
    p = torch.nn.Parameter(torch.empty(16, device="meta"))
    optimizer = RangerLite([p], lr=torch.tensor(0.25, dtype=torch.float64), capturable=True)
    p.grad = torch.empty_like(p)
    optimizer.step()
    assert recorder.arguments[3] is None
    assert struct.unpack("<d", struct.pack("<q", recorder.arguments[7])) == (0.25,)
    optimizer.param_groups[0]["lr"] = torch.empty((), device="meta")
    optimizer.step()
    assert recorder.arguments[3] is optimizer.param_groups[0]["lr"]


def test_the_kernels_writes_are_announced(recorder):
    p = torch.nn.Parameter(torch.ones(5))
    optimizer = RangerLite([p])
    loss = (p * p).sum()
    p.grad = torch.ones(5)
    optimizer.step()
    versions = {name: value._version for name, value in optimizer.state[p].items()}
    optimizer.step()
    assert all(value._version > versions[name] for name, value in optimizer.state[p].items())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
