"""Finds the cases, runs them, compares each number with its bar, and writes a record."""

import importlib
import json
import pkgutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from bench import speed
from bench.records import machine
from bench.speed.measure import Bar, Measured, NumberCase, SpeedCase, compare, torch_threads


@dataclass(frozen=True)
class Row:
    """One candidate of one case: its numbers, and its bar where it has one."""

    package: str
    case: str
    device: str
    candidate: str
    seconds: float | None = None  # of one call, or of one step where the case says how many a call makes
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    number: float | None = None
    unit: str = ""
    bar: str = ""
    value: float | None = None  # in the bar's own unit
    holds: bool | None = None  # None: no bar, or not measured
    note: str = ""
    threads: int = 1


def find_cases(package: str | None = None) -> list[SpeedCase | NumberCase]:
    """Every case of every module in `bench.speed` that has ``CASES``, of one package or of all."""
    cases: list[SpeedCase | NumberCase] = []
    for module in sorted(pkgutil.iter_modules(speed.__path__), key=lambda found: found.name):
        cases += getattr(importlib.import_module(f"bench.speed.{module.name}"), "CASES", [])
    return [case for case in cases if package in (None, case.package)]


def judge(bar: Bar, measured: Measured | None = None, number: float | None = None) -> tuple[float, bool]:
    """A bar's number and whether it holds.

    Raises:
        ValueError: the bar is of a kind that does not fit what was measured.
    """
    if bar.kind in ("number at most", "number at least"):
        if number is None:
            raise ValueError(f"the bar {bar} needs a number, and belongs in a NumberCase")
        return number, number <= bar.limit if bar.kind == "number at most" else number >= bar.limit
    if measured is None:
        raise ValueError(f"the bar {bar} needs a time, and belongs in a SpeedCase")
    value = {
        "ratio at most": measured.ratio,
        "percent at least": 100 / measured.ratio,
        "times faster": 1 / measured.ratio,
        "overhead percent": 100 * (measured.ratio - 1),
        "microseconds": 1e6 * measured.extra,
    }[bar.kind]
    at_least = bar.kind in ("percent at least", "times faster")
    return value, value >= bar.limit if at_least else value <= bar.limit


def run_case(case: SpeedCase | NumberCase, device: str) -> list[Row]:
    """Measures one case on one device; on a machine without a GPU, CUDA rows say "not measured"."""
    if device == "cuda" and not torch.cuda.is_available():
        return _not_measured(case, device, "not measured: no GPU here", set())
    rows = _number_rows(case, device) if isinstance(case, NumberCase) else _timed_rows(case, device)
    return rows + _not_measured(case, device, "not measured: not available here", {row.candidate for row in rows})


def _timed_rows(case: SpeedCase, device: str) -> list[Row]:
    counts = case.threads if device == "cpu" else (1,)
    return [row for threads in counts for row in _rows_with(threads, case, device)]


def _rows_with(threads: int, case: SpeedCase, device: str) -> list[Row]:
    rows: list[Row] = []
    with torch_threads(threads):
        candidates = case.make(device)
    for measured in compare(candidates, against=case.against, rounds=case.rounds, device=device, threads=threads):
        measured = replace(measured, seconds=measured.seconds / case.calls, extra=measured.extra / case.calls)
        row = Row(
            case.package,
            case.name,
            device,
            measured.name,
            seconds=measured.seconds,
            ratio=measured.ratio,
            low=measured.low,
            high=measured.high,
            threads=threads,
        )
        bars = [bar for bar in case.bars if bar.candidate == measured.name]
        rows += [_with_bar(row, bar, judge(bar, measured=measured)) for bar in bars] or [row]
    return rows


def _number_rows(case: NumberCase, device: str) -> list[Row]:
    rows: list[Row] = []
    for name, number in case.make(device).items():
        row = Row(case.package, case.name, device, name, number=number, unit=case.unit)
        bars = [bar for bar in case.bars if bar.candidate == name]
        rows += [_with_bar(row, bar, judge(bar, number=number)) for bar in bars] or [row]
    return rows


def _with_bar(row: Row, bar: Bar, verdict: tuple[float, bool]) -> Row:
    return replace(row, bar=f"{bar.kind} {bar.limit:g}", value=verdict[0], holds=verdict[1])


def _not_measured(case: SpeedCase | NumberCase, device: str, note: str, seen: set[str]) -> list[Row]:
    """One row for each bar whose candidate did not run."""
    return [
        Row(case.package, case.name, device, bar.candidate, bar=f"{bar.kind} {bar.limit:g}", note=note)
        for bar in case.bars
        if bar.candidate not in seen
    ]


def run_all(package: str | None, device: str, records: Path | None) -> Iterator[list[Row]]:
    """Runs every case that makes sense on ``device``, yields its rows, appends them to ``records`` as JSON lines."""
    for case in find_cases(package):
        if device not in case.devices:
            continue
        rows = run_case(case, device)
        if records is not None:
            _append(records, rows)
        yield rows


def _append(records: Path, rows: list[Row]) -> None:
    records.parent.mkdir(parents=True, exist_ok=True)
    surroundings = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "revision": machine.revision(),
        "versions": machine.versions(),
        "cpu": machine.cpu_model(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load": machine.load(),
    }
    with records.open("a", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps({"kind": "speed", **asdict(row), **surroundings}) + "\n")
