"""How much faster two ranks are than one, on two cores with one thread each: wall time, side by side.

The first of two gloo processes takes a step alone while the second waits, then both take one together, and so on; the
number is the median over rounds of the ratio. Raw records: ``docs/records/speed/torcheggroll.jsonl``.
"""

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torcheggroll import TorchEggrollES

from bench.speed.measure import Bar, NumberCase
from bench.speed.torcheggroll import Transformer, token_loss
from bench.tensors import seeded

ROUNDS = 11


def speedup(population: int, rank: int, device: str) -> Mapping[str, float]:
    """Times the transformer of the speed cases, alone and on two ranks."""
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            found = list(pool.map(partial(_rank, folder, population, rank, device), range(2)))
    return found[0]


def _rank(folder: str, population: int, rank: int, device: str, place: int) -> dict[str, float]:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    store = f"file://{Path(folder) / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=place, world_size=2, timeout=timedelta(minutes=5))
    alone, shared = (_prepared(population, rank, device, own) for own in (True, False))
    shared()
    taken: list[tuple[float, float]] = []
    for turn in range(ROUNDS + 1):
        first = _seconds(alone if place == 0 else _nothing)
        second = _seconds(shared)
        if turn:  # the first round warms up
            taken.append((first, second))
    dist.destroy_process_group()
    return {"two ranks": statistics.median(one / max(two, 1e-9) for one, two in taken)}


def _prepared(population: int, rank: int, device: str, alone: bool) -> Any:
    with seeded(0):
        model = Transformer().to(device)
        x, y = (torch.randint(0, 256, (4, 64), device=device) for _ in "xy")
    group: Any = False if alone else None
    es = TorchEggrollES(model, population, rank=rank, seed=0, engine="fold", process_group=group)
    return partial(es.step, x, token_loss, y)


def _nothing() -> None:
    """Waits for the other."""


def _seconds(call: Any) -> float:
    """Wall time of a call that both processes begin together."""
    dist.barrier()
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


CASES = [
    NumberCase(
        f"two ranks on two cores, transformer d 256, 4 layers, T 64, batch 4, population 64, rank {rank}",
        "torcheggroll", partial(speedup, 64, rank), "times one rank",
        (Bar("two ranks", 1.8, "number at least"),),
    )
    for rank in (1, 4)
]  # fmt: skip
