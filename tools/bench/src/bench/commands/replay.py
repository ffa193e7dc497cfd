"""Repeats a recorded run: on the CPU it must give the same numbers to the bit."""

from pathlib import Path

from bench.commands.console import console
from bench.execute.work import warm_up, work
from bench.protocol.job import Job
from bench.records.models import Run
from bench.records.store import read_many
from bench.workloads.table import WORKLOADS


def find(name: str, runs: list[Run]) -> Run:
    """The run whose id begins with ``name``.

    Raises:
        ValueError: there is none, or there are several.
    """
    found = {run.key: run for run in runs if run.key.startswith(name)}
    if len(found) != 1:
        raise ValueError(f"the id must name one recorded run, {name!r} names {len(found)} of {len(runs)}")
    return next(iter(found.values()))


def make_again(old: Run) -> list[str]:
    """Runs it and lists what differs; an empty list is equality to the bit.

    Raises:
        ValueError: it is a run of a user's task, whose file the record does not hold, or its data has changed.
    """
    config = old.config
    if config.task:
        raise ValueError("a run of bench compare is made again by bench compare itself, with the task's file")
    data = WORKLOADS[config.workload].fingerprints()
    if data != config.data:
        raise ValueError(f"the run was made on data {config.data}, this bench has {data}: it cannot be replayed")
    warm_up()
    new = work(Job(config, old.role, old.profile))
    return differences(old, new)


def differences(old: Run, new: Run) -> list[str]:
    """What is not equal, number by number; CPU times are expected to differ."""
    pairs = [
        ("status", old.status, new.status),
        ("steps", old.curve.step, new.curve.step),
        ("samples", old.curve.samples, new.curve.samples),
        ("training loss", old.curve.loss, new.curve.loss),
        ("validation", old.curve.value, new.curve.value),
        ("test", old.test, new.test),
        ("decisions", old.decisions, new.decisions),
        ("arms", old.arms, new.arms),
        ("trace", old.trace, new.trace),
    ]
    found = [f"{name}: recorded {was}, now {now}" for name, was, now in pairs if was != now]
    if found:
        names = sorted({*old.machine.versions, *new.machine.versions})
        changed = [name for name in names if old.machine.versions.get(name) != new.machine.versions.get(name)]
        note = f"versions differ: {', '.join(changed)}" if changed else "all versions are those of the record"
        note += f"; recorded at revision {old.machine.revision}, now at {new.machine.revision}"
        found.append(f"recorded on {old.machine.cpu}, now on {new.machine.cpu}; {note}")
    return found


def replay(run: str, records: list[Path]) -> int:
    """`bench replay`."""
    paths = records or sorted(Path("outputs/bench").rglob("records.jsonl"))
    old = find(run, [record for record in read_many(paths) if isinstance(record, Run)])
    console.print(f"{old.key}: {old.config.workload}, {old.config.entry}, {old.config.params}, seed {old.config.seed}")
    differences = make_again(old)
    console.print("\n".join(differences) or "equal to the bit: curve, validation and test", markup=False)
    return 1 if differences else 0
