"""`bench compare`: the user's task under the protocol."""

import statistics
import time
from itertools import pairwise
from pathlib import Path
from typing import cast

import torch

from bench.commands.run import execute_studies, executor_of
from bench.commands.session import default_folder
from bench.execute.work import warm_up
from bench.methods.table import entries_of
from bench.protocol.profiles import profile_for
from bench.protocol.study import Study
from bench.records import machine
from bench.tensors import advance, backward
from bench.workloads.base import GradientTask, Workload
from bench.workloads.own_task import digest, load_task


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
    path = task.resolve(strict=True)
    profile, budget = profile_for(seeds, trials), {"steps": steps, "batch": batch, "evals": min(10, steps)}
    workload = load_task(str(path), budget)
    entries = entries_of(workload, "gradient", set(methods) or None, ablations=False)
    count = workers or machine.cores()
    study = Study(
        profile,
        workload,
        "gradient",
        entries,
        workers=count,
        task_path=str(path),
        task_digest=digest(path),
        run_seconds=seconds_of_run(workload),
    )
    folder = out or default_folder(f"compare-{path.stem}")
    return execute_studies([study], folder, executor_of("local", workers), plain)


def seconds_of_run(workload: Workload) -> float:
    """CPU seconds that a run of AdamW will take, from about a second of its steps and one evaluation."""
    warm_up()
    budget = workload.budgets["compare"]["gradient"]
    begin = time.process_time()
    task = cast(GradientTask, workload.build("gradient", budget, 0, "cpu"))
    optimizer = torch.optim.AdamW(task.model.parameters())
    marks = [time.process_time()]
    for step in range(budget.steps):
        optimizer.zero_grad()
        backward(task.loss(step))
        advance(optimizer)
        marks.append(time.process_time())
        if step >= 3 and marks[-1] - marks[0] > 1:
            break
    task.validate()
    evaluation = time.process_time() - marks[-1]
    taken = [after - before for before, after in pairwise(marks)]
    return marks[0] - begin + budget.steps * statistics.median(taken) + (budget.evals + 1) * evaluation
