"""A workload made from the user's file."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.compare import OnlineTask, Pair, UserTask
from bench.records.models import Family
from bench.tensors import number, outputs, seeded, tensor_of
from bench.workloads.base import Budget, GradientTask, Task, Workload, batches, evaluating
from bench.workloads.data.splits import Split, refuse_equal_rows
from bench.workloads.task_file import HOW, TaskError, TaskFile, blaming, read_task

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Known:
    """A task that has been read and checked."""

    file: TaskFile
    digest: str  # of its code and, after it, of its data
    metric: str
    better: Any
    margin: float
    rewards: bool


_known: dict[str, Known] = {}


def load_task(path: str, budget: Mapping[str, int], digest: str = "") -> tuple[Workload, str]:
    """Returns the workload of a user's file, and its checksum; a process reads an unchanged file once.

    Args:
        path: of the file.
        budget: of a run.
        digest: what the checksum must be, where that is known.

    Raises:
        TaskError: the task is not complete, raises an error, or has changed.
        LeakError: training shares a sample with validation or test.
    """
    known = _known.get(path)
    if known is None or not known.digest.startswith(known.file.digest()):
        known = _known[path] = _read(Path(path))
    if digest and digest != known.digest:
        name = known.file.path.name
        raise TaskError(
            f"{name}, or a file it imports, must stay as it is while the comparison runs, and was edited; start again"
            if digest[:8] != known.digest[:8]
            else f"task(0) of {name} must give the same data in every process, and did not: seed what is random"
        )
    id = known.file.path.stem
    workload = Workload(
        id=id,
        title=id,
        question="Should you switch, and to which setting?",
        metric=known.metric,
        better=known.better,
        budgets={"compare": {"gradient": Budget(**budget)}},
        build=partial(_build, known.file),
        margin=known.margin,
        rewards=known.rewards,
        robustness=True,
    )
    return workload, known.digest


def _read(path: Path) -> Known:
    file = read_task(path)
    with blaming(file.path), seeded(0):
        example = file.make(0)
    _check(example, file.path.name)
    data = _check_data(example, file.path.name) if isinstance(example, UserTask) else ""
    digest = file.digest() + data
    rewards = isinstance(example, OnlineTask) and example.reward is not None
    return Known(file, digest, example.metric_name, example.better, float(example.margin), rewards)


def _check(task: Any, name: str) -> None:
    """Refuses what cannot be trained.

    Raises:
        TaskError: it cannot.
    """
    if not isinstance(task, UserTask | OnlineTask):
        raise TaskError(
            f"task(seed) of {name} must return a UserTask (or an OnlineTask), got {_kind(task)}: end it with "
            f"`return UserTask(...)`; {HOW}"
        )
    calls = ["loss"] if isinstance(task, UserTask) else ["loss", "validate", "test"]
    calls += [call for call in ("metric", "reward") if getattr(task, call, None) is not None]
    for call in calls:
        if not callable(getattr(task, call)):
            raise TaskError(f"{call} of {name} must be a function, got {_kind(getattr(task, call))}")
    if not isinstance(task.model, nn.Module):
        raise TaskError(f"model of {name} must be a torch.nn.Module, got {_kind(task.model)}")
    if not any(parameter.requires_grad for parameter in task.model.parameters()):
        raise TaskError(f"model of {name} must have parameters that require gradients, got none")
    if task.better not in ("higher", "lower"):
        raise TaskError(f"better of {name} must be 'higher' or 'lower', got {task.better!r}")
    if not (isinstance(task.margin, int | float) and 0 <= task.margin < float("inf")):
        raise TaskError(f"margin of {name} must be in [0, inf), got {task.margin!r}")


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _check_data(task: UserTask, name: str) -> str:
    """Refuses parts that are no pairs of tensors or overlap; returns a checksum of all of them.

    Raises:
        TaskError: a part is not complete.
        LeakError: training shares a sample with validation or test.
    """
    parts: list[Pair] = [getattr(task, part) for part in PARTS]
    for part, pair in zip(PARTS, parts, strict=True):
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(t, Tensor) for t in pair)):
            raise TaskError(f"{part} of {name} must be a pair of tensors, inputs and targets, got {_kind(pair)}")
        counts = [len(tensor) if tensor.dim() else 0 for tensor in pair]
        if counts[0] != counts[1] or not counts[0]:
            raise TaskError(
                f"{part} of {name} must have as many targets as inputs, at least one: got {counts[0]} inputs "
                f"and {counts[1]} targets"
            )
    ends = [0, *accumulate(len(inputs) for inputs, _ in parts)]
    split = Split(*(np.arange(begin, end) for begin, end in pairwise(ends)))
    rows = np.concatenate([_fingerprints(x, y) for x, y in parts])
    refuse_equal_rows(split, rows)
    return hashlib.sha256(rows.tobytes()).hexdigest()[:8]


def _fingerprints(inputs: Tensor, targets: Tensor) -> NDArray[np.uint8]:
    """Returns sixteen bytes for each sample; equal samples have equal ones."""
    flat = [_bytes(tensor) for tensor in (inputs, targets)]
    hashes = [hashlib.blake2b(x.tobytes() + y.tobytes(), digest_size=16).digest() for x, y in zip(*flat, strict=True)]
    return np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 16)


def _bytes(tensor: Tensor) -> NDArray[np.uint8]:
    flat = tensor.detach().cpu().contiguous().reshape(len(tensor), -1)
    return flat.view(torch.uint8).numpy()


def _build(file: TaskFile, family: Family, budget: Budget, seed: int, device: str) -> Task:
    with seeded(seed):
        task = file.make(seed)
    model, name = task.model.to(device), file.path.name

    def judged(judge: Callable[[], float]) -> float:
        with evaluating(model):
            return _number(judge(), name)

    if isinstance(task, OnlineTask):
        return GradientTask(
            model,
            lambda step: _scalar(task.loss(step), name),
            partial(judged, task.validate),
            partial(judged, task.test),
            budget.batch,
            reward=task.reward or (lambda: None),
        )
    x, y = task.train[0].to(device), task.train[1].to(device)
    order = tensor_of(batches(np.arange(len(x)), budget.steps, budget.batch, seed)).to(device)

    def metric(part: Pair) -> float:
        inputs, targets = part[0].to(device), part[1].to(device)
        given = outputs(model, inputs)
        return number(task.loss(given, targets)) if task.metric is None else task.metric(given, targets)

    def loss(step: int) -> Tensor:
        return _scalar(task.loss(model(x[order[step]]), y[order[step]]), name)

    validate, test = (partial(judged, partial(metric, part)) for part in (task.validation, task.test))
    return GradientTask(model, loss, validate, test, budget.batch)


def _scalar(loss: Any, name: str) -> Tensor:
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
        got = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else _kind(loss)
        got += ", without a gradient" if isinstance(loss, Tensor) and loss.numel() == 1 else ""
        raise TaskError(f"loss of {name} must return a scalar tensor that depends on the model, got {got}")
    return loss


def _number(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise TaskError(f"the metric of {name} must be a number, got {_kind(value)}") from None
