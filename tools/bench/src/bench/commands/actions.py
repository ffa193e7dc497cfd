"""What each command does, once it is clear that it will be done."""

from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.commands.progress import clock
from bench.commands.session import Interrupted, default_folder, is_live, run_session
from bench.compare import digest, load_task, profile_for, seconds_of_run
from bench.execute.engine import RunFailedError
from bench.execute.events import Executor
from bench.methods.method import split_arm
from bench.methods.table import METHODS, arms_of, importable
from bench.protocol.plan import left_out, studies
from bench.protocol.profiles import PROFILES
from bench.protocol.study import Study
from bench.records import machine
from bench.records.models import Run
from bench.records.store import DamagedRecordError, Store, read_many
from bench.workloads.data.source import DriftedDataError
from bench.workloads.table import WORKLOADS

console = Console()
stderr = Console(stderr=True)
KNOWN_ERRORS = (ValueError, DriftedDataError, DamagedRecordError, RunFailedError, RuntimeError, FileNotFoundError)


def guarded(act: Callable[[], int]) -> int:
    """Run a command; an error the user can act on is one line, not a traceback."""
    try:
        return act()
    except KNOWN_ERRORS as error:
        stderr.print(f"bench: {error}", markup=False, highlight=False, soft_wrap=True)
        return 1


def _executor(name: str, workers: int) -> Callable[[], Executor]:
    count = workers or machine.cores()
    if name == "local":
        from bench.execute.local import LocalExecutor

        return lambda: LocalExecutor(count)
    if name == "ray":
        from bench.execute.on_ray import RayExecutor

        return lambda: RayExecutor(workers or None)
    raise ValueError(f"executor must be local or ray, got {name!r}")


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

    def act() -> int:
        if name not in PROFILES:
            raise ValueError(f"profile must be one of {', '.join(PROFILES)}, got {name!r}")
        _refuse_missing_device(device)
        profile = PROFILES[name]
        found = studies(profile, workloads, methods, device, workers or machine.cores())
        console.print(f"profile {name}: {profile.about}", highlight=False)
        for workload in left_out(profile) if not workloads else []:
            console.print(f"left out: {workload}", markup=False, highlight=False)
        return _run(found, out or default_folder(name), _executor(executor, workers), plain)

    return guarded(act)


def _refuse_missing_device(device: str) -> None:
    import torch

    if device not in ("cpu", "cuda"):
        raise ValueError(f"device must be cpu or cuda, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda needs a GPU that torch can see, found none; use --device cpu")


def _run(found: list[Study], folder: Path, executor: Callable[[], Executor], plain: bool) -> int:
    for study in found:  # drifted data stops everything before anything is written
        for source in study.workload.sources:
            for file in source.checksums:
                source.read(file)
    store = Store(folder / "records.jsonl")
    try:
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
    return guarded(lambda: _write(records, out))


def replay(run: str, records: list[Path]) -> int:
    """`bench replay`."""

    def act() -> int:
        from bench.commands.replay import find, make_again

        paths = records or sorted(Path("outputs/bench").rglob("records.jsonl"))
        old = find(run, [record for record in read_many(paths) if isinstance(record, Run)])
        console.print(
            f"{old.key}: {old.config.workload}, {old.config.arm}, {old.config.params}, seed {old.config.seed}"
        )
        differences = make_again(old)
        console.print("\n".join(differences) or "equal to the bit: curve, validation and test", markup=False)
        return 1 if differences else 0

    return guarded(act)


def speed(package: str | None, device: str, records: Path | None) -> int:
    """`bench speed`."""
    from bench.speed.run import run_all
    from bench.speed.table import show

    broken = measured = 0
    for rows in run_all(package, device, records):
        show(console, rows)
        broken += sum(row.holds is False for row in rows)
        measured += sum(row.holds is not None for row in rows)
    console.print(f"{measured} bars measured, {broken} do not hold")
    return 0


def compare(
    task: Path,
    steps: int,
    batch: int,
    methods: tuple[str, ...],
    seeds: int,
    trials: int,
    workers: int,
    out: Path | None,
    plain: bool,
) -> int:
    """`bench compare`."""

    def act() -> int:
        path = task.resolve(strict=True)
        profile, budget = profile_for(seeds, trials), {"steps": steps, "batch": batch, "evals": min(10, steps)}
        workload = load_task(str(path), budget)
        arms = arms_of(workload, "gradient", ("adamw",), set(methods) or None)
        count = workers or machine.cores()
        study = Study(
            profile,
            workload,
            "gradient",
            arms,
            workers=count,
            task_path=str(path),
            task_digest=digest(path),
            run_seconds=seconds_of_run(workload),
        )
        folder = out or default_folder(f"compare-{path.stem}")
        return _run([study], folder, _executor("local", workers), plain)

    return guarded(act)


def show_lists() -> None:
    """`bench list`."""
    table = Table("profile", "about", "trials", "tuning seeds", "final seeds", title="Profiles", title_justify="left")
    for profile in PROFILES.values():
        seeds = (str(len(profile.tuning_seeds)), str(len(profile.final_seeds)))
        table.add_row(profile.name, profile.about, str(profile.trials), *seeds)
    console.print(table)
    table = Table("workload", "metric", "question", "data", "profiles", title="Workloads", title_justify="left")
    for workload in WORKLOADS.values():
        data = ", ".join(source.package for source in workload.sources) or "simulated, no files"
        profiles = ", ".join(workload.budgets) + ("" if importable(workload) else f" (extra {workload.extra})")
        table.add_row(workload.id, f"{workload.metric}, {workload.better}", workload.question, data, profiles)
    console.print(table)
    table = Table("method", "name", "package", "tuned", title="Methods", title_justify="left")
    for method in METHODS.values():
        tuned = (
            f"lr {', '.join(f'{lr:g}' for lr in method.grid)}; {method.knob[0]} {method.knob[1]} or {method.knob[2]}"
        )
        name = f"{method.id} (ours)" if method.ours else method.id
        name += "" if method.available else f" (needs {method.needs})"
        table.add_row(name, method.title, method.package, tuned)
    console.print(table)
    cosine = ", ".join(method.id for method in METHODS.values() if method.cosine and split_arm(method.id)[0])
    console.print(f"with +cosine (warm-up and half a cosine): {cosine}", highlight=False)
