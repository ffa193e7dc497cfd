"""AEES around AdamW beside the bare optimizer: time of a step, memory, how often it reads the device."""

from collections.abc import Callable
from typing import Any

import torch
from pulseopt import AEES
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.speed.measure import Bar, NumberCase, SpeedCase
from bench.speed.memory import peak_allocated_mb

TENSORS, ELEMENTS = 300, 3_000_000
BARE, OFF, NORM, NOISE = "torch AdamW", "AEES", "AEES, norm on", "AEES, noise on"
SHARED, LATE, FIND = "AEES, noise from one stream", "AEES, losses read late", "AEES, searching"
ARMS = {"lr_candidates": (0.5, 1.0, 2.0), "episode_length": 50}
SETTINGS: dict[str, dict[str, Any]] = {
    OFF: ARMS,
    NORM: {**ARMS, "track_update_norm": True},
    NOISE: {**ARMS, "noise_candidates": (0.001,)},
    SHARED: {**ARMS, "noise_candidates": (0.001,), "noise_streams": "shared"},
    LATE: {**ARMS, "read_losses": "episode"},
}


def _params(device: str) -> list[nn.Parameter]:
    draw = torch.Generator(device).manual_seed(0)
    shape = (ELEMENTS // TENSORS,)
    params = [nn.Parameter(torch.randn(shape, device=device, generator=draw)) for _ in range(TENSORS)]
    for p in params:
        p.grad = torch.randn(shape, device=device, generator=draw)
    return params


def _controlled(optimizer: torch.optim.Optimizer, settings: dict[str, Any]) -> Callable[[], None]:
    """Returns a step of the optimizer under AEES; the loss is a tensor, as in training."""
    aees = AEES(optimizer, seed=0, **settings)
    loss = torch.ones((), device=optimizer.param_groups[0]["params"][0].device)

    def step() -> None:
        aees.step_start(0)
        aees.step_end(loss)

    return step


def steps(device: str) -> dict[str, Callable[[], None]]:
    """Return one step of the bare optimizer and of each way of controlling it.

    All of them step one optimizer: where its tensors lie in memory changes a step's time by more than AEES does.
    """
    optimizer: Any = torch.optim.AdamW(_params(device), lr=1e-6)

    def step() -> None:
        optimizer.step()

    return {BARE: step, **{name: _controlled(optimizer, settings) for name, settings in SETTINGS.items()}}


def _training(device: str, searches: bool) -> Callable[[], None]:
    """Returns a training step of a network with 670 k parameters, alone or while AEES searches for the rate."""
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(256, 784, generator=draw).to(device), torch.randint(10, (256,), generator=draw).to(device)
    model = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)).to(device)
    optimizer: Any = torch.optim.AdamW(model.parameters(), lr=1e-3)
    aees = AEES.find_rate(optimizer, 10_000, seed=0) if searches else None
    fresh: dict[str, Any] = {} if aees is None else aees.state_dict()

    def step() -> None:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        if aees is None:
            loss.item()
            optimizer.step()
            return
        if "holding" in repr(aees):
            aees.load_state_dict(fresh)  # begin a new search where one has ended
        aees.step_start(0)
        aees.step_end(loss)

    return step


def training_steps(device: str) -> dict[str, Callable[[], None]]:
    """Returns a training step alone and one under a search."""
    return {BARE: _training(device, False), FIND: _training(device, True)}


def memory(device: str) -> dict[str, float]:
    """Returns how many MB a step takes from the allocator beyond the bare optimizer's, at its worst moment."""
    calls = steps(device)
    for call in calls.values():
        call()  # the optimizer's own state comes with its first step
    peaks = {name: peak_allocated_mb(call, device) for name, call in calls.items()}
    return {name: peaks[name] - peaks[BARE] for name in SETTINGS}


class _Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default  # pyright: ignore
        return func(*args, **(kwargs or {}))


def device_reads(device: str) -> dict[str, float]:
    """Returns how often a step waits for a tensor's value, beyond the bare optimizer."""
    counts: dict[str, float] = {}
    for name, call in steps(device).items():
        call()
        with _Reads() as reads:  # type: ignore[no-untyped-call]
            call()
        counts[name] = float(reads.count)
    return {name: counts[name] - counts[BARE] for name in (OFF, NOISE)}


CASES: list[SpeedCase | NumberCase] = [
    SpeedCase(
        name="AdamW step, 300 tensors, 3 M parameters",
        package="pulseopt",
        make=steps,
        against=BARE,
        bars=(Bar(OFF, 3.0, "overhead percent"), Bar(NORM, 60.0, "overhead percent")),
        devices=("cpu", "cuda"),
        rounds=25,
    ),
    SpeedCase(
        name="training step, MLP with 670 k parameters, batch 256",
        package="pulseopt",
        make=training_steps,
        against=BARE,
        bars=(Bar(FIND, 15.0, "overhead percent"),),
        devices=("cpu", "cuda"),
        rounds=25,
    ),
    NumberCase(
        name="memory above the bare optimizer",
        package="pulseopt",
        make=memory,
        unit="MB",
        bars=(Bar(OFF, 1.0, "number at most"),),
    ),
    NumberCase(
        name="device reads of a step",
        package="pulseopt",
        make=device_reads,
        unit="reads",
        bars=(Bar(OFF, 1.0, "number at most"), Bar(NOISE, 1.0, "number at most")),
    ),
]
