"""The studies of a profile on this machine, and their estimated time."""

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any

from bench.methods.table import METHODS, entries_of, importable, with_extra
from bench.names import refuse_unknown
from bench.protocol.profiles import Profile
from bench.protocol.study import Load, Study
from bench.records.models import PROTOCOL, Family, Run
from bench.workloads.table import WORKLOADS

STARTUP = 2.5  # seconds until the workers are ready, once the parent has imported torch and met the yardstick
BETWEEN = 0.04  # seconds a worker waits from one run to the next: the record is written to the disk meanwhile


def studies(
    profile: Profile, workloads: tuple[str, ...], methods: tuple[str, ...], device: str, workers: int
) -> list[Study]:
    """Returns the studies of a profile, narrowed to what the user asked for.

    Raises:
        ValueError: a name is unknown, or nothing is left.
    """
    refuse_unknown("workload", workloads, WORKLOADS)
    refuse_unknown("method", methods, METHODS)
    _refuse_missing(methods)
    for name in workloads:
        if not importable(WORKLOADS[name]):
            raise ValueError(f"{name} needs an extra, which is not here: {with_extra(WORKLOADS[name].extra)}")
    found: list[Study] = []
    for name in workloads or profile.workloads:
        workload = WORKLOADS[name]
        if profile.name not in workload.budgets or not importable(workload):
            continue
        rows = methods or profile.fewer.get(name) or profile.methods
        for family in workload.budgets[profile.name]:
            entries = entries_of(workload, family, None if rows is None else set(rows), profile.ablations)
            found.append(Study(profile, workload, family, entries, device, workers))
    if not found:
        raise ValueError(f"profile {profile.name} has none of the workloads asked for; see bench list")
    return found


def left_out(profile: Profile) -> list[str]:
    """Returns the workloads of a profile that need an extra which is not installed."""
    return [
        f"{name} (to take it in: {with_extra(WORKLOADS[name].extra)})"
        for name in profile.workloads
        if not importable(WORKLOADS[name])
    ]


def refuse_others(studies: Iterable[Study], runs: Iterable[Run], path: object) -> None:
    """Refuses a record file that cannot be gone on with.

    Raises:
        ValueError: it holds runs of another protocol, or of a workload as it was before.
    """
    known = {(study.workload.id, study.family): study for study in studies}
    for run in runs:
        config = run.config
        if config.protocol != PROTOCOL:
            raise ValueError(
                f"{path} holds runs of protocol {config.protocol}, this bench makes those of {PROTOCOL}; "
                "they are never mixed: choose another --out"
            )
        study = known.get((config.workload, config.family))
        if study is None or run.profile != study.profile.name or config.task:
            continue
        job = study.job(config.entry, config.params, config.seed, run.role).config
        short = study.job(config.entry, config.params, config.seed, run.role, study.short).config
        if config.key not in (job.key, short.key):
            raise ValueError(
                f"{path} holds runs of {config.workload} as it was before (version {config.version}, "
                f"{config.budget}, device {config.device}); now it is version {job.version}, {job.budget}, "
                f"{job.device}: choose another --out"
            )


def _refuse_missing(methods: Iterable[str]) -> None:
    for method in (METHODS[name] for name in methods):
        if not method.available:
            raise ValueError(
                f"{method.id} needs {method.needs}, which is not here: {with_extra(method.needs)}"
                if method.needs.islower()
                else f"{method.id} needs {method.needs}: name there the src folder of its unpacked source distribution"
            )


@cache
def _costs() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(resources.files("bench.protocol").joinpath("costs.json").read_text("utf-8"))
    return content


def run_seconds(study: Study, entry: str, speed: float) -> float:
    """Returns the CPU seconds of a full run on a machine ``speed`` times as slow as the one of ``costs.json``."""
    known = known_cost(study.profile.name, study.workload.id, study.family, entry)
    return study.run_seconds.get(entry, 2.0) if known is None else speed * known


def known_cost(profile: str, workload: str, family: Family, entry: str) -> float | None:
    """Returns the CPU seconds of a full run on the machine of ``costs.json``; None where it knows no such workload."""
    costs: dict[str, dict[str, float]] = _costs()["seconds"]
    if workload not in WORKLOADS:
        return None
    budgets = WORKLOADS[workload].budgets
    for other in dict.fromkeys((profile, *budgets)):
        known = costs.get(f"{other}/{workload}/{family}")
        if known is not None:
            mine, theirs = budgets[profile][family], budgets[other][family]
            taken = known.get(entry) or known.get(METHODS[entry].ablates) or max(known.values())
            return taken * mine.steps * mine.batch / (theirs.steps * theirs.batch)
    return None


def alike(finished: Iterable[Run]) -> Counter[str]:
    """Counts finished runs that differ in setting and seed alone, by the key they would have without either."""
    return Counter(run.config.model_copy(update={"params": {}, "seed": 0}).key for run in finished)


def left_to_run(study: Study, finished: Counter[str]) -> dict[str, Load]:
    """Returns the runs per entry that a study still asks for, when those counted by `alike` are finished."""
    left: dict[str, Load] = {}
    for entry, load in study.expected_runs().items():
        full = finished[study.job(entry, {}, 0, "tune").config.key]
        if study.short == study.budget:  # the runs of stage 1 are the first of the others
            short, full = min(full, load.short), max(0, full - load.short)
        else:
            short = finished[study.job(entry, {}, 0, "tune", study.short).config.key]
        left[entry] = Load(max(0, load.short - short), max(0, load.full - full))
    return left


def cpu_seconds(study: Study, runs: Mapping[str, Load], speed: float) -> float:
    """Returns the CPU seconds of the runs of each entry on a machine ``speed`` times as slow as that of costs.json."""
    return sum(
        (load.full + load.short / study.workload.short) * run_seconds(study, entry, speed)
        for entry, load in runs.items()
    )


def speed_here() -> float:
    """Returns this machine's time for a fixed piece of work over that of the machine of ``costs.json``."""
    return yardstick() / float(_costs()["yardstick"])


def yardstick() -> float:
    """Returns the CPU seconds of a fixed piece of work like the bench's own: small layers, forwards and backwards.

    The least of sixty: what a neighbour on the machine, or the imports of the workers, do to the others is not speed.
    """
    import torch

    from bench.tensors import advance, backward, seeded

    torch.set_num_threads(1)
    with seeded(0):
        model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 64))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        x = torch.randn(128, 64)
    taken: list[float] = []
    for _ in range(60):
        begin = time.process_time()
        for _ in range(30):
            optimizer.zero_grad()
            backward(model(x).square().mean())
            advance(optimizer)
        taken.append(time.process_time() - begin)
    return min(taken)


def wall_seconds(found: Iterable[tuple[Study, Mapping[str, Load]]], workers: int, speed: float) -> float:
    """Returns the estimate announced before the start, of the runs left of each study, on otherwise idle cores."""
    busy = sum(cpu_seconds(study, runs, speed) + BETWEEN * sum(map(sum, runs.values())) for study, runs in found)
    return STARTUP + busy / workers
