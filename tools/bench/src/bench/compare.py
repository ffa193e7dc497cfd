"""`bench compare my_task.py`: the same protocol on a task of your own.

Your file defines one function::

    from bench.compare import UserTask


    def task(seed: int) -> UserTask:
        model = ...  # built after torch's seed was set to ``seed``: same seed, same weights
        return UserTask(model, train=(x, y), validation=(xv, yv), test=(xt, yt), loss=cross_entropy, metric=accuracy)

Everything else (batches, tuning, seeds, pairing, report) is the bench's. ``tools/bench/examples/my_task.py`` is a
complete one.
"""

import hashlib
import importlib.util
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.execute.work import warm_up
from bench.protocol.profiles import Profile
from bench.records.models import Family
from bench.tensors import advance, backward, number, outputs, seeded, tensor_of
from bench.workloads.base import Budget, GradientTask, Task, Workload, batches, evaluating
from bench.workloads.data.splits import Split, refuse_equal_rows

Pair = tuple[Tensor, Tensor]


@dataclass
class UserTask:
    """Your task.

    Args:
        model: called as ``model(inputs)``.
        train: inputs and targets, first dimension the sample.
        validation: what tuning looks at.
        test: looked at once per final run.
        loss: ``loss(outputs, targets)``, a scalar to minimise.
        metric: ``metric(outputs, targets)``, a number to judge by; None takes the loss.
        better: whether a higher or a lower metric is better.
        metric_name: what the report calls it.
    """

    model: nn.Module
    train: Pair
    validation: Pair
    test: Pair
    loss: Callable[[Tensor, Tensor], Tensor]
    metric: Callable[[Tensor, Tensor], float] | None = None
    better: Literal["higher", "lower"] = "lower"
    metric_name: str = "loss"


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


def profile_for(seeds: int, trials: int) -> Profile:
    """The protocol of a comparison: that of quick, with the number of seeds and trials chosen by the user."""
    return Profile(
        "compare",
        "your own task",
        (),
        trials=trials,
        final_seeds=tuple(range(seeds)),
        untuned_seeds=tuple(range(min(2, seeds))),
    )


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
