"""What a step asks of a GPU, counted without one: launches, bytes and copies that wait, of the path that CUDA takes.

Tensors are fake: they say that they are on CUDA, every op gives the shape of its result, and nothing is computed. The
kernels of Triton are counted where the package launches them, attention as the one kernel that it is on a GPU.
"""

import collections

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torcheggroll import TorchEggrollES
from torcheggroll._ops import fused_cuda, graphs, triton_launch
from torcheggroll.noise import distributions, layout, perturbation, reference

pytestmark = pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")

WIDTH, LAYERS, LENGTH, BATCH, POPULATION = 1024, 8, 64, 4, 1024
FREE = 70 << 30  # bytes of the GPU that is not there
NO_LAUNCH = {
    "_nested_tensor_size", "_reshape_alias", "_unsafe_view", "alias", "as_strided", "detach", "device", "empty",
    "empty_like", "empty_strided", "expand", "is_pinned", "lift_fresh", "new_empty", "new_empty_strided", "permute",
    "select", "slice", "split", "split_with_sizes", "squeeze", "squeeze_", "t", "transpose", "unbind", "unsqueeze",
    "view",
}  # fmt: skip


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, 16, d // 16).permute(2, 0, 3, 1, 4).unbind(0)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(b, t, d))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class Language(nn.Module):
    def __init__(self):
        super().__init__()
        self.token, self.position = nn.Embedding(256, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.Sequential(*(Block(WIDTH) for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 256)

    def forward(self, x):
        at = torch.arange(x.shape[1], device=x.device)
        return self.head(self.norm(self.blocks(self.token(x) + self.position(at))))


class Count(TorchDispatchMode):
    """Counts launches, the bytes they read and write, and copies that wait for the device."""

    def __init__(self):
        super().__init__()
        self.clear()

    def clear(self):
        self.launches, self.bytes, self.waits, self.paused = collections.Counter(), 0, [], False

    def add(self, name, tensors):
        if self.paused:
            return
        self.launches[name] += 1
        self.bytes += sum(size_of(t) for t in {id(t): t for t in tensors}.values())

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        fake = any(isinstance(t, FakeTensor) for t in given)
        to = kwargs.get("device")
        if name == "_pin_memory":
            return args[0]
        if name == "is_pinned":
            return False
        if fake and (name in ("_local_scalar_dense", "equal", "nonzero") or (to and torch.device(to).type == "cpu")):
            self.waits.append(name)
            if name == "_local_scalar_dense":
                return 1.0
            with unset_fake_temporarily():
                return torch.randn(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        if not fake and (to is None or torch.device(to).type == "cpu"):
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        if not fake and given and name == "_to_copy" and not kwargs.get("non_blocking"):
            self.waits.append("send")
        known = torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE)
        out = func(*tree_map(lambda t: faked(known, t), args), **kwargs)
        if name not in NO_LAUNCH:
            self.add(name, [*given, *(t for t in tree_leaves(out) if isinstance(t, torch.Tensor))])
        return out


class OneKernel(TorchFunctionMode):
    """Counts attention as the kernel that it is on a GPU."""

    def __init__(self, count):
        super().__init__()
        self.count = count

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is functional.scaled_dot_product_attention:
            out = torch.empty_like(args[0], memory_format=torch.contiguous_format)
            self.count.add("attention", [*args[:3], out])
            return out
        return func(*args, **(kwargs or {}))


def faked(mode, value):
    plain = isinstance(value, torch.Tensor) and not isinstance(value, FakeTensor) and value.dim()
    return mode.from_tensor(value) if plain else value


def size_of(tensor):
    """Bytes of what a tensor holds; what is expanded counts once."""
    size = tensor.element_size()
    for count, step in zip(tensor.shape, tensor.stride(), strict=True):
        size *= count if step else 1
    return size


class Generator:
    def get_state(self):
        return None

    def set_state(self, state):
        """Keeps nothing."""

    def manual_seed(self, seed):
        """Draws nothing."""


@pytest.fixture
def count(monkeypatch):
    counting = Count()

    def launch(kernel, programs, on, *arguments, **constants):
        tensors = [a[0] if isinstance(a, tuple) else a for a in arguments]
        if programs:
            counting.add("triton", [t for t in tensors if isinstance(t, torch.Tensor)])

    monkeypatch.setattr(triton_launch, "launch", launch)
    monkeypatch.setattr(triton_launch, "_installed", lambda: True)
    monkeypatch.setattr(triton_launch, "has_descriptors", lambda device: True)
    monkeypatch.setattr(triton_launch, "processors", lambda device: 132)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (FREE, 80 << 30))
    for name in ("memory_reserved", "memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda device=None: 0)
    monkeypatch.setattr(torch.cuda, "default_generators", (Generator(),))
    caches = (
        perturbation._starts, perturbation._sent, layout.table, reference._words, distributions.quantiles,
        distributions.signs,
    )  # fmt: skip
    for cache in caches:
        cache.cache_clear()
    with FakeTensorMode(allow_non_fake_inputs=True), counting, OneKernel(counting):
        yield counting
    for cache in caches:
        cache.cache_clear()


def on_cuda(make, dtype):
    torch.set_default_dtype(dtype)
    try:
        with torch.device("cuda"):
            model = make()
    finally:
        torch.set_default_dtype(torch.float32)
    model.to = lambda *_: model  # fake parameters can not be swapped
    return model


def measured(count, dtype, rank):
    """The counts of pure inference on as many rows, and of the second step."""
    model = on_cuda(Language, dtype)
    x, y = (torch.zeros(BATCH, LENGTH, dtype=torch.int64, device="cuda") for _ in "xy")
    es = TorchEggrollES(model, POPULATION, sigma=0.01, rank=rank, seed=0, engine="fold")
    es.evaluator._choose = lambda *_: "fold"  # the probe compares numbers
    count.clear()
    with torch.no_grad():
        model(x.repeat(POPULATION, 1))
    pure = count.bytes
    for _ in range(2):
        count.clear()
        es.step(x, lambda out, y: functional.cross_entropy(out.flatten(0, -2), y.flatten()), y)
    return pure, sum(count.launches.values()), count.bytes, count.waits


@pytest.mark.parametrize("rank", [1, 4])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_step_takes_3000_launches_17_of_the_bytes_and_one_copy_that_waits(count, dtype, rank):
    pure, launches, read_and_written, waits = measured(count, dtype, rank)
    assert launches <= 3_000
    assert read_and_written <= 1.7 * pure
    assert waits == ["_to_copy"]


def test_without_triton_the_structure_is_the_same(count, monkeypatch):
    monkeypatch.setattr(triton_launch, "_installed", lambda: False)
    pure, launches, read_and_written, waits = measured(count, torch.bfloat16, 1)
    assert launches <= 3_000
    assert read_and_written <= 3.4 * pure
    assert waits == ["_to_copy"]
    assert not count.launches["triton"]


def test_what_waits_is_counted(count):
    some = torch.ones(3, device="cuda")
    some.sum().item()
    some.cpu()
    torch.zeros(3).to("cuda")
    assert count.waits == ["_local_scalar_dense", "_to_copy", "send"]
    assert count.launches["sum"] == 1


class Deep(nn.Sequential):
    def __init__(self):
        super().__init__(*(layer for _ in range(24) for layer in (nn.Linear(64, 64), nn.LayerNorm(64))))


class Graph:
    """Stands for a graph: one launch gives results of the shapes of the function's."""

    def __init__(self, count, function, inputs):
        self.count, self.inputs = count, [value.clone() for value in inputs]
        self.results = list(function(*self.inputs))

    def replay(self, inputs):
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        self.count.launches["graph"] += 1
        results = [torch.empty_like(value) for value in self.results]
        torch._foreach_copy_(results, self.results)
        return results


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_estimate_of_a_small_model_is_one_launch_once_it_repeats(count, monkeypatch, dtype):
    monkeypatch.setattr(graphs, "capturable", lambda device: True)
    monkeypatch.setattr(graphs, "capture", lambda function, inputs, constants: Graph(count, function, inputs))
    monkeypatch.setattr(torch, "equal", lambda a, b: True)  # fake tensors hold nothing to compare
    model = on_cuda(Deep, dtype)
    es = TorchEggrollES(model, 64, sigma=1e-3, rank=1, seed=0)
    steps = []
    for _ in range(4):
        es.ask()
        count.clear()
        es.tell([float(i % 3) for i in range(64)])
        sgd = count.launches["add_"]  # one for each fake parameter, one for all of them on a GPU
        steps.append(sum(count.launches.values()) - sgd)
    assert es.model_noise.repeated.replays == 1
    assert count.launches["graph"] == 1
    assert steps[0] > 200
    assert steps[3] <= {torch.float32: 17, torch.bfloat16: 25}[dtype]
    assert count.waits == []


def test_masters_of_low_precision_take_few_launches(count):
    """Weights that others wrote to are found, and weights are rounded, for many parameters at once."""
    launches = []
    for dtype in (torch.float32, torch.bfloat16):
        es = TorchEggrollES(on_cuda(Deep, dtype), 64, sigma=1e-3, rank=1, seed=0)
        for _ in range(2):
            es.ask()
            count.clear()
            es.tell([float(i % 3) for i in range(64)])
        launches.append(sum(count.launches.values()))
    assert launches[1] - launches[0] <= 20


def test_factors_of_members_with_one_row_are_not_written_to_memory(count, monkeypatch):
    width, members = 4096, 256
    with torch.device("cuda"):
        model = nn.Linear(width, width, bias=False, dtype=torch.bfloat16)
    model.to = lambda *_: model  # fake parameters can not be swapped
    x = torch.zeros(members, 1, width, dtype=torch.bfloat16, device="cuda")

    def bytes_and_kernels():
        es = TorchEggrollES(model, members, sigma=0.01, rank=1, seed=0, engine="fold")
        es.evaluator._choose = lambda *_: "fold"  # the probe compares numbers
        for _ in range(2):  # the first forward learns who draws
            count.clear()
            es.forward(x, per_member=True)
        return count.bytes, count.launches["triton"]

    in_kernels, kernels = bytes_and_kernels()
    monkeypatch.setattr(fused_cuda, "_FEW", 0)
    in_memory, with_fill = bytes_and_kernels()
    factors = members * 2 * width * 2
    assert (kernels, with_fill) == (2, 3)
    assert in_memory - in_kernels >= 1.9 * factors, "written once and read once, but for the table of quantiles"
