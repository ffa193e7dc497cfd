"""A workload made from the user's file."""

import hashlib
import importlib.util
from collections.abc import Callable, Mapping
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bench.compare import Pair, UserTask
from bench.records.models import Family
from bench.tensors import number, outputs, seeded, tensor_of
from bench.workloads.base import Budget, GradientTask, Task, Workload, batches, evaluating
from bench.workloads.data.splits import Split, refuse_equal_rows


def digest(path: Path) -> str:
    """Checksum of the user's file, which enters the run's key: an edited task is another task."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def read_task(path: str) -> Callable[[int], UserTask]:
    """The ``task`` function of a file.

    Raises:
        ValueError: the file has none.
    """
    spec = importlib.util.spec_from_file_location("user_task", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"the task must be a Python file, got {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function = getattr(module, "task", None)
    if not callable(function):
        raise ValueError(f"{path} must define a function task(seed) that returns a UserTask, found none")
    return cast(Callable[[int], UserTask], function)


def load_task(path: str, budget: Mapping[str, int]) -> Workload:
    """The workload of a user's file.

    Raises:
        ValueError: the task is not complete.
        LeakError: training shares a sample with validation or test.
    """
    make = read_task(path)
    with seeded(0):
        example = make(0)
    _check(example, path)
    return Workload(
        id=Path(path).stem,
        title=Path(path).stem,
        question="Which method trains this task best?",
        metric=example.metric_name,
        better=example.better,
        budgets={"compare": {"gradient": Budget(**budget)}},
        build=partial(_build, make),
    )


def _check(task: UserTask, path: str) -> None:
    parts = (task.train, task.validation, task.test)
    for name, (inputs, targets) in zip(("train", "validation", "test"), parts, strict=True):
        if len(inputs) != len(targets) or not len(inputs):
            raise ValueError(
                f"{name} of {path} must have as many targets as inputs, at least one: got {len(inputs)} inputs "
                f"and {len(targets)} targets"
            )
    ends = [0, *accumulate(len(inputs) for inputs, _ in parts)]
    train, validation, test = (np.arange(begin, end) for begin, end in pairwise(ends))
    rows = np.concatenate([_rows(x, y) for x, y in parts])
    refuse_equal_rows(Split(train, validation, test), rows)


def _rows(inputs: Tensor, targets: Tensor) -> NDArray[np.float64]:
    flat = [tensor.detach().reshape(len(tensor), -1).double().numpy() for tensor in (inputs, targets)]
    return np.concatenate(flat, axis=1)


def _build(make: Callable[[int], UserTask], family: Family, budget: Budget, seed: int, device: str) -> Task:
    with seeded(seed):
        task = make(seed)
    model = task.model.to(device)
    x, y = task.train[0].to(device), task.train[1].to(device)
    held_out = [(inputs.to(device), targets.to(device)) for inputs, targets in (task.validation, task.test)]
    order = tensor_of(batches(np.arange(len(x)), budget.steps, budget.batch, seed)).to(device)

    def judge(part: Pair) -> float:
        with evaluating(model):
            given = outputs(model, part[0])
            return number(task.loss(given, part[1])) if task.metric is None else float(task.metric(given, part[1]))

    def loss(step: int) -> Tensor:
        return task.loss(model(x[order[step]]), y[order[step]])

    return GradientTask(model, loss, partial(judge, held_out[0]), partial(judge, held_out[1]), budget.batch)
