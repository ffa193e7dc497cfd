"""TorchEggroll beside pure inference: unperturbed forward passes over population times batch samples.

"Pure and loss" also gives each member the mean loss of its samples, in one call for as many members as a pass holds:
all that an evaluation can not do without. Release 0.2.0, EvoTorch and dense members under vmap take part where
`bench.speed.es_rivals` has them. Raw records: ``docs/records/speed/torcheggroll.jsonl``.
"""

import copy
import inspect
import multiprocessing
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torcheggroll import TorchEggrollES
from torcheggroll.noise.layout import perturbed_shape
from torcheggroll.noise.perturbation import Noise

from bench.speed.es_rivals import DENSE, OLD, PGPE, dense_vmap, evotorch_pgpe, release_020
from bench.speed.measure import Bar, NumberCase, SpeedCase, compare
from bench.speed.memory import peak_allocated_mb, peak_rss_mb
from bench.tensors import parts, seeded

PURE = "pure inference"
PURE_AND_LOSS = "pure and loss"
ROUNDS = 3  # of children, where two peaks are compared


class Block(nn.Module):
    """One layer of the measured transformer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend and transform: ``(batch, T, width)``."""
        b, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(b, t, d))
        down: Tensor = self.down(functional.gelu(self.up(self.norm2(x))))
        return x + down


class Transformer(nn.Module):
    """A byte-level language model: width 256, 4 layers, vocabulary 256."""

    def __init__(self, width: int = 256, layers: int = 4, vocabulary: int = 256, length: int = 64) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width, 4) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, T)`` bytes to ``(batch, T, vocabulary)``."""
        at = torch.arange(x.shape[1], device=x.device)
        out: Tensor = self.head(self.norm(self.blocks(self.token(x) + self.position(at))))
        return out


def mlp() -> nn.Module:
    """Returns the measured classifier, 784-256-256-10."""
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))


def token_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy over all positions."""
    return functional.cross_entropy(outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1))


def _named(name: str, call: Callable[[], None] | None) -> dict[str, Callable[[], None]]:
    """Names a rival, where it could be imported."""
    return {} if call is None else {name: call}


def _pure(model: nn.Module, x: Tensor, rows: int) -> Callable[[], None]:
    def run() -> None:
        with torch.no_grad():
            for part in parts(x, rows):
                model(part)

    return run


def _pure_and_loss(model: nn.Module, x: Tensor, y: Tensor, members: int) -> Callable[[], None]:
    """Evaluates ``(population, batch, ...)`` samples and each member's mean loss, ``members`` at a time."""

    def run() -> None:
        with torch.no_grad():
            for own, targets in zip(torch.split(x, members), torch.split(y, members), strict=True):
                out: Tensor = model(own.flatten(0, 1))
                loss = functional.cross_entropy(out.flatten(0, -2), targets.flatten(), reduction="none")
                loss.view(len(own), -1).mean(1)

    return run


@seeded(0)
def mlp_shared(device: str) -> Mapping[str, Callable[[], None]]:
    """Population 256, rank 4, one batch of 128 for all members."""
    model = mlp().to(device)
    x, y = torch.randn(128, 784, device=device), torch.randint(0, 10, (128,), device=device)
    made: dict[str, Callable[[], None]] = {PURE: _pure(copy.deepcopy(model), x.repeat(256, 1), 4096)}
    for engine in ("vmap", "fold"):
        es = TorchEggrollES(copy.deepcopy(model), 256, rank=4, seed=0, engine=engine)
        made[engine] = _discard(partial(es.step, x, functional.cross_entropy, y))
    made[PURE_AND_LOSS] = _pure_and_loss(copy.deepcopy(model), x.expand(256, -1, -1), y.expand(256, -1), 32)
    for name, rival in ((OLD, release_020), (PGPE, evotorch_pgpe), (DENSE, dense_vmap)):
        made |= _named(name, rival(copy.deepcopy(model), 256, x, functional.cross_entropy, y))
    return made


@seeded(0)
def mlp_own(device: str) -> Mapping[str, Callable[[], None]]:
    """Population 256, rank 4, a batch of 128 for each member."""
    model = mlp().to(device)
    x, y = torch.randn(256, 128, 784, device=device), torch.randint(0, 10, (256, 128), device=device)
    made: dict[str, Callable[[], None]] = {PURE: _pure(copy.deepcopy(model), x.flatten(0, 1), 4096)}
    made[PURE_AND_LOSS] = _pure_and_loss(copy.deepcopy(model), x, y, 32)
    for engine in ("vmap", "fold"):
        es = TorchEggrollES(copy.deepcopy(model), 256, rank=4, seed=0, engine=engine)
        made[engine] = _discard(partial(es.step, x, functional.cross_entropy, y, per_member=True))
    return made


@seeded(0)
def transformer(device: str) -> Mapping[str, Callable[[], None]]:
    """Population 64, ranks 1 and 4, 4 sequences of 64 bytes."""
    model = Transformer().to(device)
    x, y = (torch.randint(0, 256, (4, 64), device=device) for _ in "xy")
    made: dict[str, Callable[[], None]] = {PURE: _pure(copy.deepcopy(model), x.repeat(64, 1), 32)}
    for engine in ("vmap", "fold"):
        for rank in (1, 4):
            es = TorchEggrollES(copy.deepcopy(model), 64, rank=rank, seed=0, engine=engine)
            made[f"{engine} rank {rank}"] = _discard(partial(es.step, x, token_loss, y))
    made[PURE_AND_LOSS] = _pure_and_loss(copy.deepcopy(model), x.expand(64, -1, -1), y.expand(64, -1, -1), 8)
    for name, rival in ((OLD, release_020), (DENSE, dense_vmap)):
        made |= _named(name, rival(copy.deepcopy(model), 64, x, token_loss, y))
    return made


def only(make: Callable[[str], Mapping[str, Callable[[], None]]], names: Sequence[str], device: str) -> Any:
    """Keeps some candidates of a case."""
    return {name: call for name, call in make(device).items() if name in names}


def noise(device: str) -> Mapping[str, float]:
    """Measures what one random number costs: of a block of pairs, and of ``torch.randn``."""
    shape = perturbed_shape((1024, 1024), 1)
    draw = Noise(0, "gaussian")
    row = draw.row([shape], [0])
    pairs = torch.arange(256, device=device)
    timed = compare(
        {
            "torch.randn": _discard(partial(torch.randn, 256, shape.numbers, device=device)),
            "ours": _discard(partial(draw.draw, 0, row, pairs, [1.0], torch.float32)),
        },
        against="torch.randn", rounds=101, warmup=3, device=device,
    )  # fmt: skip
    return {one.name: 1e9 * one.seconds / (256 * shape.numbers) for one in timed}


@seeded(0)
def one_linear(width: int, population: int, device: str) -> Mapping[str, Callable[[], None]]:
    """One row per member through one matrix: factors drawn beforehand, and drawn in each call."""
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    model = nn.Linear(width, width, bias=False).to(device, dtype)
    x = torch.randn(population, 1, width, device=device, dtype=dtype)
    es = TorchEggrollES(model, population, rank=1, seed=0, chunk_size=population)
    made: dict[str, Callable[[], None]] = {PURE: _pure(copy.deepcopy(model), x.flatten(0, 1), population)}
    made["regenerated"] = _discard(partial(es.forward, x, per_member=True))
    kept = TorchEggrollES(copy.deepcopy(model), population, rank=1, seed=0, chunk_size=population)
    made["stored"] = _discard(_with_stored_noise(kept, x))
    return made


def one_linear_in_avx2(width: int, population: int, rounds: int, device: str) -> Mapping[str, float]:
    """Measures `one_linear`, in percent of pure inference, where the kernels of torch and ours keep to AVX2."""
    spawned = multiprocessing.get_context("spawn")
    with _environment("ATEN_CPU_CAPABILITY", "avx2"), ProcessPoolExecutor(1, mp_context=spawned) as child:
        return child.submit(_percent_of_pure, width, population, rounds, device).result()


def _percent_of_pure(width: int, population: int, rounds: int, device: str) -> dict[str, float]:
    torch.set_num_threads(1)
    timed = compare(one_linear(width, population, device), against=PURE, rounds=rounds, device=device)
    return {one.name: 100 / one.ratio for one in timed if one.name != PURE}


@contextmanager
def _environment(name: str, value: str) -> Generator[None]:
    """Sets a variable for the processes that start inside the ``with``."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _with_stored_noise(es: TorchEggrollES, x: Tensor) -> Callable[[], Any]:
    """Draw once, then evaluate with what was drawn; the optimizer itself stores nothing."""
    held = ExitStack()
    held.enter_context(es.held())

    def run(_: ExitStack) -> None:
        es.forward(x, per_member=True)

    return partial(run, held)  # what is held lasts as long as the call


def _discard(call: Callable[[], Any]) -> Callable[[], None]:
    def run() -> None:
        call()

    return run


def speedups(device: str) -> Mapping[str, float]:
    """Measures how many times a step of 0.2.0 takes as long, where 0.2.0 is at hand."""
    found: dict[str, float] = {}
    for name, make, ours in (("MLP", mlp_shared, "fold"), ("transformer, rank 4", transformer, "fold rank 4")):
        made = make(device)
        if OLD in made:
            pair = compare({OLD: made[OLD], ours: made[ours]}, against=OLD, rounds=5, warmup=1, device=device)
            found[name] = 1 / pair[1].ratio
    return found


def prepared_mlp(population: int) -> Callable[[], None]:
    """Builds the MLP's run, for a child process to measure."""
    x, y = torch.randn(128, 784), torch.randint(0, 10, (128,))
    es = TorchEggrollES(mlp(), population, rank=4, seed=0, engine="fold")
    return _discard(partial(es.step, x, functional.cross_entropy, y))


def prepared_mlp_of_16(population: int) -> Callable[[], None]:
    """Builds the MLP's run with 16 members at a time."""
    x, y = torch.randn(128, 784), torch.randint(0, 10, (128,))
    es = TorchEggrollES(mlp(), population, rank=4, seed=0, engine="fold", chunk_size=16)
    return _discard(partial(es.step, x, functional.cross_entropy, y))


def prepared_transformer(rank: int) -> Callable[[], None]:
    """Builds the transformer's run, for a child process to measure."""
    x, y = (torch.randint(0, 256, (4, 64)) for _ in "xy")
    es = TorchEggrollES(Transformer(), 64, rank=rank, seed=0, engine="fold")
    return _discard(partial(es.step, x, token_loss, y))


def peaks(device: str) -> Mapping[str, float]:
    """Measures the peaks above model and torch."""
    return {"MLP": peak_rss_mb(prepared_mlp, 256), "transformer": peak_rss_mb(prepared_transformer, 4)}


@seeded(0)
def audits(device: str) -> Mapping[str, float]:
    """Measures what the default of ``audit_every`` adds to a step: the time of an audit over that of so many steps."""
    every: int = inspect.signature(TorchEggrollES).parameters["audit_every"].default
    images = torch.randn(128, 784, device=device), functional.cross_entropy, torch.randint(0, 10, (128,), device=device)
    tokens = [torch.randint(0, 256, (4, 64), device=device) for _ in "xy"]
    found: dict[str, float] = {}
    for name, model, population, asked in (
        ("MLP", mlp(), 256, images),
        ("transformer", Transformer(), 64, (tokens[0], token_loss, tokens[1])),
    ):
        made: dict[str, Callable[[], None]] = {}
        for how, often in (("without", 0), ("audited", 1)):
            own = copy.deepcopy(model).to(device)
            es = TorchEggrollES(own, population, rank=4, seed=0, engine="fold", audit_every=often)
            made[how] = _discard(partial(es.step, *asked))
        pair = compare(made, against="without", rounds=5, repeat=1, warmup=1, device=device)
        found[name] = 100 * (pair[1].ratio - 1) / every
    return found


def growth(device: str) -> Mapping[str, float]:
    """Measures by how much the peak grows with the population, 16 members at a time.

    A process's peak scatters by a fifth, whatever the population: the first chunk reads pages of libraries and finds
    another heap each time. So the least of several processes is compared, in turns. What torch allocates is exact.
    """
    populations = (64, 4096)
    peaks: dict[int, list[float]] = {population: [] for population in populations}
    for _ in range(ROUNDS):
        for population in populations:
            peaks[population].append(peak_rss_mb(prepared_mlp_of_16, population))
    small, large = (min(peaks[population]) for population in populations)
    few, many = (peak_allocated_mb(_warm(prepared_mlp_of_16(population))) for population in populations)
    return {"MLP": 100 * (large / small - 1), "MLP, of what torch allocates": 100 * (many / few - 1)}


def _warm(call: Callable[[], None]) -> Callable[[], None]:
    """Calls once, so that what is built but once is there."""
    call()
    return call


CASES = [
    SpeedCase(
        "MLP 784-256-256-10, batch 128 shared, population 256, rank 4", "torcheggroll", mlp_shared, PURE,
        (Bar("fold", 170.0, "percent at least"),), rounds=9,
    ),
    SpeedCase(
        "MLP 784-256-256-10, batch 128 per member, population 256, rank 4", "torcheggroll", mlp_own, PURE,
        (Bar("fold", 92.0, "percent at least"),), rounds=15,
    ),
    SpeedCase(
        "the same, of pure inference and loss", "torcheggroll", partial(only, mlp_own, (PURE_AND_LOSS, "fold")),
        PURE_AND_LOSS, (Bar("fold", 97.0, "percent at least"),), rounds=15,
    ),
    SpeedCase(
        "transformer d 256, 4 layers, T 64, batch 4, population 64", "torcheggroll", transformer, PURE,
        tuple(Bar(f"fold rank {rank}", 85.0, "percent at least") for rank in (1, 4)), rounds=5,
    ),
    NumberCase("noise", "torcheggroll", noise, "ns a number", (Bar("ours", 2.2, "number at most"),)),
    *(
        SpeedCase(
            f"one Linear {width}, population = batch = {population}, rank 1", "torcheggroll",
            partial(one_linear, width, population), PURE,
            (Bar("stored", stored, "percent at least"), Bar("regenerated", regenerated, "percent at least")),
            devices=devices, rounds=rounds,
        )
        for width, population, stored, regenerated, devices, rounds in (
            (1024, 512, 93.0, 90.0 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 82.0, ("cpu",), 201),
            (4096, 256, 93.0, 80.0, ("cpu",), 41),
            (8192, 1024, 91.0, 80.0, ("cuda",), 41),
        )
    ),
    NumberCase(
        "one Linear 1024, population = batch = 512, rank 1, with AVX2 alone", "torcheggroll",
        partial(one_linear_in_avx2, 1024, 512, 201), "%",
        (Bar("stored", 93.0, "number at least"), Bar("regenerated", 82.0, "number at least")),
    ),
    NumberCase(
        "speed over torcheggroll 0.2.0", "torcheggroll", speedups, "times",
        (Bar("MLP", 8.0, "number at least"), Bar("transformer, rank 4", 2.2, "number at least")),
    ),
    NumberCase("audits, once in 100 steps", "torcheggroll", audits, "% of a step"),
    NumberCase(
        "peak memory above model and torch", "torcheggroll", peaks, "MB",
        (Bar("MLP", 60.0, "number at most"), Bar("transformer", 130.0, "number at most")),
    ),
    NumberCase(
        "growth of that peak from population 64 to 4,096, 16 at a time", "torcheggroll", growth, "%",
        (Bar("MLP", 10.0, "number at most"),),
    ),
]  # fmt: skip
