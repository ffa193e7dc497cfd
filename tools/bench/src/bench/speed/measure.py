"""Timing of candidates in interleaved rounds within one process, as ratios, which are robust on a busy machine.

**Writing a speed module.** A file ``speed/<module>.py`` defines ``CASES: list[SpeedCase | NumberCase]``::

    from bench.speed.measure import Bar, NumberCase, SpeedCase


    def cold_steps(device: str) -> dict[str, Callable[[], None]]:
        return {"torch AdamW fused": one_step_of_adamw, "ThermoLion fused": one_step_of_thermolion}


    CASES = [
        SpeedCase(
            name="200 tensors, 10 M parameters, cold",
            package="thermolion",
            make=cold_steps,  # called with "cpu" or "cuda"; builds everything, returns the thunks
            against="torch AdamW fused",  # the reference: ratios are candidate / reference
            bars=(Bar("ThermoLion fused", 1.2),),  # time ratio at most 1.2
        ),
        NumberCase(
            name="peak memory above model and torch",
            package="torcheggroll",
            unit="MB",
            make=peaks,  # called with the device; returns {candidate: number}
            bars=(Bar("vmap", 60.0, "number at most"),),
        ),
    ]

What a bar bounds is its ``kind``: ``"ratio at most"`` (candidate time / reference time), ``"percent at least"``
(100 · reference / candidate: percent of pure inference), ``"times faster"`` (reference / candidate at least),
``"overhead percent"`` (100 · (ratio - 1) at most), ``"microseconds"`` (candidate - reference, per call, at most),
``"number at most"`` and ``"number at least"`` (of a `NumberCase`). ``devices`` lists where a case makes sense; on a
machine without a GPU its CUDA half is shown as "not measured". ``calls`` tells how many units (steps) one call makes,
for the table's per-step times. A file may be imported without its package's compiler; a candidate that cannot exist
there is left out of the mapping ``make`` returns, and its bar is shown as "not measured".

**How time is taken.** One thread (`torch.set_num_threads(1)`), process CPU time on the CPU and CUDA events between
synchronisations on a GPU. A case that lists several counts in ``threads`` is timed with each of them on the CPU; with
more than one thread, wall time counts. Every candidate is warmed up; then, in each round, each candidate runs
``repeat`` calls, in an order that turns by one place every round. The ratio is the median over rounds of candidate /
reference of the same round; its spread is the quartiles. Memory: `bench.speed.memory`.
"""

import statistics
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

BarKind = Literal[
    "ratio at most",
    "percent at least",
    "times faster",
    "overhead percent",
    "microseconds",
    "number at most",
    "number at least",
]

Candidates = Mapping[str, Callable[[], None]]


@dataclass(frozen=True)
class Bar:
    """A bound that one candidate of a case has to keep."""

    candidate: str
    limit: float
    kind: BarKind = "ratio at most"


@dataclass(frozen=True)
class SpeedCase:
    """Candidates to be timed against one of them; ``make(device)`` builds them."""

    name: str
    package: str
    make: Callable[[str], Candidates]
    against: str
    bars: tuple[Bar, ...] = ()
    devices: tuple[str, ...] = ("cpu",)
    calls: int = 1
    rounds: int = 9
    threads: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class NumberCase:
    """Candidates with one number each (megabytes, device reads); ``make(device)`` measures them."""

    name: str
    package: str
    make: Callable[[str], Mapping[str, float]]
    unit: str
    bars: tuple[Bar, ...] = ()
    devices: tuple[str, ...] = ("cpu",)


@dataclass(frozen=True)
class Measured:
    """One candidate's time beside the reference's."""

    name: str
    against: str
    seconds: float  # median time of one call
    ratio: float  # median over rounds of candidate / reference
    low: float  # first quartile of that ratio
    high: float  # third quartile
    extra: float  # median over rounds of candidate - reference, seconds per call
    rounds: int
    repeat: int


@contextmanager
def torch_threads(count: int) -> Generator[None]:
    """Runs the body with ``count`` torch threads, then gives the former ones back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def compare(
    candidates: Candidates,
    *,
    against: str,
    rounds: int = 9,
    repeat: int | None = None,
    warmup: int = 2,
    device: str = "cpu",
    slice_seconds: float = 0.03,
    threads: int = 1,
) -> list[Measured]:
    """Times every candidate in interleaved rounds and pairs each with ``against``.

    Args:
        candidates: name to a call without arguments.
        against: the name of the reference, one of ``candidates``.
        rounds: how often every candidate is timed; at least 3.
        repeat: calls per timing; None chooses it so that the slowest candidate takes about ``slice_seconds``.
        warmup: untimed calls of each candidate before the first round.
        device: ``"cpu"`` (process CPU time, seconds) or ``"cuda"`` (events).
        slice_seconds: the time aimed at for one timing of the slowest candidate.
        threads: torch's threads; with more than one on the CPU, wall time is taken instead of CPU time.

    Returns:
        One `Measured` per candidate, in the order given; the reference's ratio is 1.

    Raises:
        ValueError: ``against`` is not among the candidates, or a count is too small.
    """
    if against not in candidates:
        raise ValueError(f"against must name one of the candidates {sorted(candidates)}, got {against!r}")
    if rounds < 3 or (repeat is not None and repeat < 1) or warmup < 1:
        raise ValueError(
            f"rounds >= 3, repeat >= 1 and warmup >= 1 are needed, got rounds={rounds}, repeat={repeat}, "
            f"warmup={warmup}"
        )
    clock = _cuda_seconds if device == "cuda" else _cpu_seconds if threads == 1 else _wall_seconds
    with torch_threads(threads):
        slowest = max(_warm_up(call, warmup, clock) for call in candidates.values())
        times = repeat or max(1, min(1000, round(slice_seconds / max(slowest, 1e-7))))
        taken = _interleave(candidates, rounds, times, clock)
    return [_pair(name, against, taken, times) for name in candidates]


def _warm_up(call: Callable[[], None], times: int, clock: Callable[[Callable[[], None], int], float]) -> float:
    """The last of ``times`` untimed calls tells how long one takes."""
    return [clock(call, 1) for _ in range(times)][-1]


def _interleave(
    candidates: Candidates, rounds: int, repeat: int, clock: Callable[[Callable[[], None], int], float]
) -> dict[str, list[float]]:
    """Seconds per call of every candidate in every round; the order turns by one place each round."""
    names = list(candidates)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            taken[name].append(clock(candidates[name], repeat) / repeat)
    return taken


def _pair(name: str, against: str, taken: Mapping[str, list[float]], repeat: int) -> Measured:
    """Medians and quartiles of the ratios of equal rounds."""
    ratios = [mine / max(theirs, 1e-12) for mine, theirs in zip(taken[name], taken[against], strict=True)]
    extras = [mine - theirs for mine, theirs in zip(taken[name], taken[against], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Measured(
        name=name,
        against=against,
        seconds=statistics.median(taken[name]),
        ratio=statistics.median(ratios),
        low=low,
        high=high,
        extra=statistics.median(extras),
        rounds=len(ratios),
        repeat=repeat,
    )


def _cpu_seconds(call: Callable[[], None], times: int) -> float:
    begin = time.process_time()
    for _ in range(times):
        call()
    return time.process_time() - begin


def _wall_seconds(call: Callable[[], None], times: int) -> float:
    begin = time.perf_counter()
    for _ in range(times):
        call()
    return time.perf_counter() - begin


def _cuda_seconds(call: Callable[[], None], times: int) -> float:
    event: Callable[..., torch.Event] = torch.cuda.Event
    begin, end = event(enable_timing=True), event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    for _ in range(times):
        call()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / 1e3
