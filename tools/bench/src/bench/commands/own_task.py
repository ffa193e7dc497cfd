"""`bench compare`: the user's task under the protocol."""

import statistics
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import cast

from bench.commands.run import execute_studies, executor_of
from bench.commands.session import default_folder
from bench.execute.train import gradient
from bench.execute.work import warm_up
from bench.methods.driver import Driver
from bench.methods.method import Setting
from bench.methods.table import METHODS, entries_of
from bench.names import refuse_unknown
from bench.protocol.profiles import Profile, profile_for
from bench.protocol.search import space_of
from bench.protocol.study import Study
from bench.records import machine
from bench.workloads.base import GradientTask, Workload
from bench.workloads.own_task import load_task
from bench.workloads.task_file import blaming

RATES = (0.1, 0.3, 3.0, 10.0)
OURS = ("thermolion", "rangerlite", "aees-adamw", "adaptive-adamw")
COMPARED = ("adamw", "schedulefree", "lion", "muon", *OURS)  # unless the user chooses
SHORT_STEP = 0.05  # seconds


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
    path, budget = task.resolve(strict=True), {"steps": steps, "batch": batch, "evals": min(10, steps)}
    study = study_of(path, budget, methods, profile_of(seeds, trials), workers or machine.cores())
    folder = out or default_folder(f"compare-{path.stem}")
    return execute_studies([study], folder, executor_of("local", workers), plain)


def profile_of(seeds: int, trials: int) -> Profile:
    """Returns the protocol of a comparison: seeds and points chosen by the user, and the axis of rates."""
    return replace(profile_for(seeds, trials), rates=RATES, rate_seeds=(0, 1))


def study_of(path: Path, budget: dict[str, int], methods: tuple[str, ...], profile: Profile, workers: int) -> Study:
    """Returns the study of a task, after a few of its steps have been tried.

    Raises:
        TaskError: it is not complete, or raises an error.
        ValueError: a method is unknown, or needs no gradient.
    """
    known = [method.id for method in METHODS.values() if method.family == "gradient" and method.available]
    refuse_unknown("method", methods, ["all", *known])
    workload, digest = load_task(str(path), budget)
    chosen = None if "all" in methods else set(methods or COMPARED)
    entries = entries_of(workload, "gradient", chosen, ablations=False)
    with blaming(path):
        seconds = seconds_of_runs(workload, entries)
    return Study(
        profile,
        workload,
        "gradient",
        entries,
        workers=workers,
        task_path=str(path),
        task_digest=digest,
        run_seconds=seconds,
    )


def seconds_of_runs(workload: Workload, entries: list[str]) -> dict[str, float]:
    """Returns the CPU seconds of a run of each entry, from some of its steps, one evaluation and one start."""
    warm_up()
    budget = workload.budgets["compare"]["gradient"]
    begin = time.process_time()
    task = cast(GradientTask, workload.build("gradient", budget, 0, "cpu"))
    built = time.process_time() - begin
    step = seconds_of_step(workload, "adamw", task, spend=1.0)
    begin = time.process_time()
    task.validate()
    rest = built + (budget.evals + 1) * (time.process_time() - begin)
    found = {"adamw": rest + budget.steps * step}
    for entry in entries:
        if entry not in found and step < SHORT_STEP:  # in a longer one, what methods differ in does not show
            task = cast(GradientTask, workload.build("gradient", budget, 0, "cpu"))
            found[entry] = rest + budget.steps * seconds_of_step(workload, entry, task, spend=0.1)
    return {entry: found.get(entry, found["adamw"]) for entry in entries}


def seconds_of_step(workload: Workload, entry: str, task: GradientTask, spend: float) -> float:
    """Returns the median CPU seconds of a step, from at least four, or as many as take ``spend`` seconds."""
    budget, method = workload.budgets["compare"]["gradient"], METHODS[entry]
    setting = space_of(method, workload.rewards, workload.lr_factor).recommended()
    driver = cast(Driver, method.make(task.model, setting, Setting(budget.steps, 0)))
    marks = [time.process_time()]
    for step in range(budget.steps):
        driver.step(gradient(task, driver, step))
        marks.append(time.process_time())
        if step >= 3 and marks[-1] - marks[0] > spend:
            break
    return statistics.median(after - before for before, after in pairwise(marks))
