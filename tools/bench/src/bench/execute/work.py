"""The execution of a job by a worker, on any executor."""

import os
from collections.abc import Callable
from pathlib import Path

from bench.execute.train import execute
from bench.protocol.job import Job
from bench.records.models import Run
from bench.tensors import advance, backward
from bench.workloads.table import WORKLOADS


def warm_up() -> None:
    """Imports and touches what the first run would otherwise be charged for."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    torch.set_num_threads(1)
    model = torch.nn.Linear(4, 4)
    optimizer = torch.optim.AdamW(model.parameters())
    backward(model(torch.ones(2, 4)).sum())
    advance(optimizer)
    torch.nn.functional.cross_entropy(torch.ones(2, 4), torch.tensor([0, 1]))


def work(job: Job, report: Callable[[float, float | None], None] = lambda share, value: None) -> Run:
    """Does one job.

    Raises:
        TaskError: the user's task failed; the message is one line.
    """
    if not job.task_path:
        return execute(job, WORKLOADS[job.config.workload], report)
    from bench.workloads.own_task import load_task
    from bench.workloads.task_file import blaming

    with blaming(Path(job.task_path)):
        workload, _ = load_task(job.task_path, job.config.budget, job.config.task)
        return execute(job, workload, report)
