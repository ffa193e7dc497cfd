"""A call of `bench run`, from the estimate to the last line."""

import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from rich.console import Console

from bench.commands.progress import Lines, LiveTable, Remaining
from bench.execute.engine import Engine
from bench.execute.events import Executor
from bench.execute.train import here
from bench.protocol.plan import alike, left_to_run, speed_here, wall_seconds
from bench.protocol.study import Study
from bench.records import machine
from bench.records.models import Session
from bench.records.store import Store
from bench.report.tables import clock


class Interrupted(Exception):  # noqa: N818
    """The user pressed Ctrl-C, or the process was asked to end; everything finished is kept."""


def view_of(console: Console, remaining: Remaining, runs: int, live: bool) -> Lines | LiveTable:
    """Returns what shows the progress: lines, or a table redrawn in place on a terminal or in a notebook."""
    if not live:
        return Lines(console, remaining, runs)
    if console.is_jupyter:
        from bench.commands.notebook_table import NotebookTable

        return NotebookTable(console, remaining, runs)
    return LiveTable(console, remaining, runs)


@contextmanager
def interruptible() -> Generator[None]:
    """Lets Ctrl-C and a polite kill both end the body as a KeyboardInterrupt, also where a shell has ignored them."""
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def run_session(
    studies: list[Study], store: Store, make_executor: Callable[[], Executor], console: Console, live: bool
) -> Session:
    """Announces, runs, records.

    Raises:
        Interrupted: Ctrl-C.
    """
    executor = make_executor()  # its processes import torch while this one plans
    workers = executor.slots
    speed, begin = speed_here(), time.monotonic()
    known = set(store.runs)
    finished = alike(store.runs.values())
    left = [(study, left_to_run(study, finished)) for study in studies]
    estimate = wall_seconds(left, workers, speed)
    runs = sum(sum(load) for study in studies for load in study.expected_runs().values())
    rest = sum(sum(load) for _, counts in left for load in counts.values())
    console.print(
        f"about {runs} runs on {workers} processes of {machine.cores()} cores: {clock(estimate)} estimated"
        + (f" for the {rest} that are not finished yet" if rest < runs else ""),
        highlight=False,
    )
    if machine.load() > machine.cores():
        console.print(f"the machine is busy (load {machine.load():.1f}): it will take longer, wall times are flagged")
    remaining = Remaining(studies, speed, workers)
    view = view_of(console, remaining, runs, live)
    engine = Engine(store, executor, view)
    complete = False
    try:
        with interruptible(), view if isinstance(view, LiveTable) else nullcontext():
            engine.run(studies)
        complete = True
    except KeyboardInterrupt:
        raise Interrupted from None
    finally:
        executor.close()
        session = Session(
            profile=studies[0].profile.name,
            estimate=round(estimate, 1),
            wall=round(time.monotonic() - begin, 1),
            cpu=round(sum(run.cost.total_cpu for key, run in store.runs.items() if key not in known), 1),
            workers=workers,
            made=engine.made,
            found=engine.found,
            complete=complete,
            machine=here(workers),
        )
        store.append(session)
    return session


def default_folder(profile: str) -> Path:
    """Where a profile writes: ``outputs/bench/<profile>`` under the current folder."""
    return Path("outputs") / "bench" / profile
