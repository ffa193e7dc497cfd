"""`bench run` and `bench report`."""

from collections.abc import Callable
from pathlib import Path

from bench.commands.console import console, is_live
from bench.commands.session import Interrupted, default_folder, run_session
from bench.execute.events import Executor
from bench.names import refuse_unknown
from bench.protocol.plan import left_out, refuse_others, studies
from bench.protocol.profiles import PROFILES
from bench.protocol.study import Study
from bench.records import machine
from bench.records.store import Store, read_many
from bench.report.tables import clock


def executor_of(name: str, workers: int) -> Callable[[], Executor]:
    """Returns what starts the executor of that name.

    Raises:
        ValueError: there is none of that name.
    """
    refuse_unknown("executor", [name], ("local", "ray"))
    count = workers or machine.cores()
    if name == "local":
        from bench.execute.local import LocalExecutor

        return lambda: LocalExecutor(count)
    from bench.execute.on_ray import RayExecutor

    return lambda: RayExecutor(workers or None)


def run_profile(
    name: str,
    methods: tuple[str, ...],
    workloads: tuple[str, ...],
    workers: int,
    device: str,
    executor: str,
    out: Path | None,
    plain: bool,
) -> int:
    """`bench run`."""
    refuse_unknown("profile", [name], PROFILES)
    _refuse_missing_device(device)
    profile = PROFILES[name]
    found = studies(profile, workloads, methods, device, workers or machine.cores())
    console.print(f"profile {name}: {profile.about}", highlight=False)
    for workload in left_out(profile) if not workloads else []:
        console.print(f"left out: {workload}", markup=False, highlight=False)
    return execute_studies(found, out or default_folder(name), executor_of(executor, workers), plain)


def _refuse_missing_device(device: str) -> None:
    import torch

    refuse_unknown("device", [device], ("cpu", "cuda"))
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda needs a GPU that torch can see, found none; use --device cpu")


def execute_studies(found: list[Study], folder: Path, executor: Callable[[], Executor], plain: bool) -> int:
    """Runs the studies in a folder and writes its report."""
    for study in found:  # drifted data stops everything before anything is written
        for source in study.workload.sources:
            for file in source.checksums:
                source.read(file)
    store = Store(folder / "records.jsonl")
    try:
        refuse_others(found, store.runs.values(), store.path)
        session = run_session(found, store, executor, console, is_live(plain))
    except Interrupted:
        console.print(f"stopped; {len(store.runs)} finished runs are kept in {store.path}: the same command goes on")
        return 130
    finally:
        store.close()
    console.print(
        f"{session.made} runs made, {session.found} found finished, in {clock(session.wall)} "
        f"(estimated {clock(session.estimate)})",
        highlight=False,
    )
    return _write([store.path], folder)


def _write(records: list[Path], folder: Path) -> int:
    from bench.report.write import write

    written = write(read_many(records), folder)
    for line in written.sentences:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"report: {written.html}", markup=False, highlight=False, soft_wrap=True)
    return 0


def write_report(records: list[Path], out: Path) -> int:
    """`bench report`."""
    return _write(records, out)
