"""What repeats is replayed, with the bits of the function itself, and refused where it is not.

A CUDA graph keeps the kernels of one call, their addresses and every number of the host. The stand-in for it, `Traced`,
does the same on the CPU: it keeps the ops of one call, and Python does not run again.
"""

import contextlib
import copy
import pickle

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode
from torcheggroll import TorchEggrollES
from torcheggroll._ops import graphs, triton_launch
from torcheggroll._ops.graphs import Repeated
from torcheggroll.noise import fused_cpu


class Traced:
    """A graph of ops with whatever numbers the host gave when it was captured."""

    made = []  # noqa: RUF012

    def __init__(self, function, inputs, constants):
        self.constants, self.inputs = list(constants), [value.clone() for value in inputs]
        self.ops = make_fx(lambda *given: list(function(*given)))(*self.inputs)
        Traced.made.append(self)

    def replay(self, inputs):
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        return [value.clone() for value in self.ops(*self.inputs)]


@pytest.fixture
def traced(monkeypatch):
    """Captures on the CPU, of noise in torch's ops."""
    Traced.made = []
    monkeypatch.setattr(graphs, "capture", Traced)
    monkeypatch.setattr(graphs, "capturable", lambda device: True)
    monkeypatch.setattr(fused_cpu, "fits", lambda out: False)
    return Traced.made


class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 6, 5))

    def forward(self, x):
        return torch.bmm(x.expand(3, *x.shape), self.weight).sum(0)


def strategy(dtype=torch.float32, **settings):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 6), Experts()).to(dtype)
    return TorchEggrollES(model, **{"pop_size": 12, "sigma": 0.3, "rank": 2, "lr": 0.5, "seed": 3, **settings})


def trained(es, steps=6):
    """The weights after some steps in which keys, fitness, σ, the number of members that count and the rate change."""
    torch.manual_seed(1)
    x, y = torch.randn(7, 4), torch.randn(7, 5)
    norms = []
    dtype = es.parameters[0].value.dtype
    for step in range(steps):
        if step == steps - 1:
            es.lr *= 0.5
        es.ask()
        scores = (-es.forward(x.to(dtype)).sub(y).square().mean((1, 2))).tolist()
        if step % 2:
            scores[2 * step % 12] = float("nan")
        es.tell(scores)
        norms.append(es.diagnostics.update_norm)
    return [p.value.detach().clone() for p in es.parameters], norms


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"noise": "rademacher"},
        {"noise": "uniform", "antithetic": False},
        {"dtype": torch.float64},
        {"dtype": torch.bfloat16},
        {"sigma_schedule": lambda epoch: 0.3 / (1 + epoch)},
        {"optimizer": torch.optim.AdamW, "max_update_norm": 0.1, "weight_decay": 0.01},
        {"stacked_matrices": "flattened", "small_matrices": "factored", "noise_reuse": 2, "engine": "loop"},
        {"adapt_sigma": True, "scale": "unbiased"},
    ],
    ids=lambda s: ",".join(s) or "default",
)
def test_a_run_with_replays_has_the_bits_of_one_without(settings, traced, monkeypatch):
    es = strategy(**settings)
    weights, norms = trained(es)
    assert es.model_noise.repeated.replays == 3
    assert len(traced) == 1
    monkeypatch.setattr(graphs, "capturable", lambda device: False)
    plain, plain_norms = trained(strategy(**settings))
    assert all(map(torch.equal, weights, plain))
    assert norms == plain_norms


@pytest.mark.parametrize("noise", ["gaussian", "rademacher"])
def test_a_graph_keeps_all_that_it_reads(noise, traced):
    trained(strategy(noise=noise), 2)
    (graph,) = traced
    kept = {value.untyped_storage().data_ptr() for value in graph.constants}
    read = [value for name, value in vars(graph.ops).items() if isinstance(value, torch.Tensor)]
    read += list(graph.ops.buffers())
    assert read
    assert {value.untyped_storage().data_ptr() for value in read} <= kept


def test_what_the_host_decides_is_noticed_before_a_graph_counts(traced):
    """A function that reads a number of the host is wrong when replayed, and is not replayed."""
    rate = [1.0]
    repeated = Repeated()

    def function(x):
        return [x * rate[0]]

    for call in range(6):
        rate[0] = float(call)
        (result,) = repeated("kind", function, [torch.ones(3)], list)
        assert torch.equal(result, torch.full((3,), float(call)))
    assert repeated.replays == 0
    assert len(traced) == 1


def test_results_outlive_the_next_replay(traced):
    repeated = Repeated()
    results = [next(iter(repeated("kind", lambda x: [x + 1], [torch.full((2,), float(i))], list))) for i in range(7)]
    assert [float(result[0]) for result in results] == [1, 2, 3, 4, 5, 6, 7]
    assert repeated.replays == 4


def test_another_kind_is_captured_anew(traced):
    repeated = Repeated()
    for size in (2, 2, 2, 2, 3, 3, 3, 3):
        (result,) = repeated(size, lambda x: [x + 1], [torch.zeros(size)], list)
        assert result.shape == (size,)
    assert (repeated.replays, len(traced)) == (2, 2)


def test_other_modes_are_another_kind(traced):
    repeated = Repeated()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            for _ in range(4):
                list(repeated("kind", lambda x: [x + 1], [torch.zeros(2)], list))
    assert (repeated.replays, len(traced)) == (2, 2)


def test_what_can_not_be_captured_runs_as_before_and_is_not_tried_again(traced, monkeypatch):
    tries = []

    def refuse(*_):
        tries.append(1)
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "capture", refuse)
    es = strategy()
    weights, _ = trained(es)
    monkeypatch.setattr(graphs, "capturable", lambda device: False)
    assert all(map(torch.equal, weights, trained(strategy())[0]))
    assert (es.model_noise.repeated.replays, len(tries)) == (0, 1)


def test_replays_take_no_part_in_autocast_either(traced):
    runs = []
    for enabled in (True, False):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            es = strategy()
            for _ in range(6):
                es.ask()
                es.tell([float(i * i % 5) for i in range(12)])
        runs.append([p.value.detach() for p in es.parameters])
        assert es.model_noise.repeated.replays == 3
    assert all(map(torch.equal, *runs))


def test_copies_begin_without_a_graph(traced):
    es = strategy()
    trained(es)
    for made in (copy.deepcopy(es), pickle.loads(pickle.dumps(es))):
        assert made.model_noise.repeated.replays == 0
        assert all(map(torch.equal, trained(made)[0], trained(copy.deepcopy(es))[0]))


def test_the_model_and_the_random_streams_are_as_found_where_a_step_with_replays_raises(traced):
    es = strategy()
    trained(es)
    weights = [p.value.detach().clone() for p in es.parameters]
    state = torch.get_rng_state()

    def broken(outputs, targets):
        raise ValueError("no loss")

    with pytest.raises(ValueError, match="no loss"):
        es.step(torch.ones(7, 4), broken)
    assert all(torch.equal(before, p.value) for before, p in zip(weights, es.parameters, strict=True))
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.value.grad is None for p in es.parameters)


def test_nothing_is_captured_on_the_cpu():
    es = strategy()
    trained(es)
    assert es.model_noise.repeated.replays == 0
    assert not graphs.capturable(torch.device("cpu"))


def test_updates_that_keep_a_gpu_busy_are_not_captured(traced, monkeypatch):
    monkeypatch.setattr("torcheggroll.noise.model._CAPTURED", 100)
    es = strategy()
    trained(es)
    assert not traced


class Stream:
    def wait_stream(self, other):
        """Waits for nothing: all runs in order here."""


class Cuda:
    """What `CudaGraph` asks of torch.cuda, on the CPU; a graph runs the function again."""

    def __init__(self, monkeypatch):
        self.current = self.caller = Stream()
        self.log = []
        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: self)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda: self.current)
        monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: setattr(self, "current", stream))
        monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
        monkeypatch.setattr(torch.cuda, "stream", self.on)
        monkeypatch.setattr(torch.cuda, "graph", self.graph)

    @contextlib.contextmanager
    def on(self, stream):
        before, self.current = self.current, stream
        yield
        self.current = before

    @contextlib.contextmanager
    def graph(self, graph, capture_error_mode):
        self.log.append(capture_error_mode)
        self.current = Stream()  # which a capture that fails leaves behind, in older releases
        yield
        self.current = self.caller

    def replay(self):
        self.again()


def test_a_cuda_graph_warms_up_aside_copies_inputs_in_and_results_out(monkeypatch):
    cuda = Cuda(monkeypatch)
    streams = []

    def function(x):
        streams.append(cuda.current)
        return [x * 2]

    graph = graphs.CudaGraph(function, [torch.ones(2)], [])
    assert len(streams) == 2
    assert cuda.caller not in streams
    assert cuda.current is cuda.caller
    assert cuda.log == ["thread_local"]  # what other threads ask of CUDA meanwhile is not refused
    cuda.again = lambda: torch.mul(graph._inputs[0], 2, out=graph._results[0])
    given = torch.full((2,), 5.0)
    first, second = graph.replay([given])[0], graph.replay([given + 1])[0]
    assert (first.tolist(), second.tolist(), given.tolist()) == ([10, 10], [12, 12], [5, 5])


def test_a_capture_that_fails_leaves_the_callers_stream(monkeypatch):
    cuda = Cuda(monkeypatch)
    calls = []

    def function(x):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("operation not permitted when stream is capturing")
        return [x]

    with pytest.raises(RuntimeError, match="not permitted"):
        graphs.CudaGraph(function, [torch.ones(2)], [])
    assert cuda.current is cuda.caller


def test_nothing_is_sent_from_the_host_during_a_capture(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(RuntimeError, match="must not read the host"):
        triton_launch.send(torch.ones(1), torch.device("cuda"))
    assert not graphs.capturable(torch.device("cuda"))


def test_nothing_is_captured_while_single_ops_are_watched(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    assert graphs.capturable(torch.device("cuda"))
    with FlopCounterMode(display=False):
        assert not graphs.capturable(torch.device("cuda"))
