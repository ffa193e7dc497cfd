"""Evaluate members in chunks that fit in memory, by the engine that suits the model."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..noise.perturbation import Delta, Members, Noise, Shape, perturbed_shape
from .fold import run_fold
from .loop import run_loop
from .shared import SharedProducts
from .task import Evolved, Task, evaluation_mode
from .tree import join, map_tensors, tensors_of
from .vmap import run_vmap

ENGINES = ("auto", "vmap", "fold", "loop")
_BUDGET = 8 << 20  # bytes: activations of a chunk that still live in a core's cache
_WORTHWHILE = 8  # fewer members at once would spend the time on calling ops
_LIVE = 4  # tensors of the largest size that are alive at once, roughly
_AGREE = 1e-3  # relative difference between engines that is rounding and no misunderstanding


class Evaluator:
    """Runs a task on members of the population.

    Args:
        model: evaluated in eval mode; modes are restored.
        parameters: the evolved ones.
        rank: of the perturbation of a matrix.
        engine: one of ``ENGINES``.
        chunk_size: members at a time, or None for ``memory_budget``.
        memory_budget: bytes for a chunk's activations and factors.
    """

    def __init__(
        self,
        model: nn.Module,
        parameters: Sequence[Evolved],
        rank: int,
        engine: str,
        chunk_size: int | None,
        memory_budget: int | None,
    ) -> None:
        self.model = model
        self.parameters: list[Evolved] = list(parameters)
        self.set_rank(rank)
        self.engine = engine
        self.chunk_size = chunk_size
        self.memory_budget = memory_budget
        self.chosen: str | None = None if engine in ("auto", "fold") else engine
        self.warned: set[str] = set()
        self.last: str = self.chosen or "loop"
        self._largest = 0

    def set_rank(self, rank: int) -> None:
        """Say how each parameter is perturbed."""
        self.shapes: list[Shape] = [perturbed_shape(tuple(p.value.shape), rank) for p in self.parameters]

    def deltas(self, noise: Noise, epoch: int, sigma: float, members: Members) -> list[Delta]:
        """Draw the perturbations of some members."""
        dtypes = [precise_dtype(p.value.dtype) for p in self.parameters]
        return noise.deltas(epoch, members, self.shapes, sigma, dtypes)

    def run(self, task: Task, draw: Callable[[list[int]], list[Delta]], members: list[int]) -> Any:
        """Evaluate ``members``, given in ascending order.

        Args:
            task: what to ask of each.
            draw: gives the perturbations of some members.
            members: their indices.

        Returns:
            The results joined, members in front: tensors, or a list of whatever each member gave.
        """
        with evaluation_mode(self.model):
            engine = self._choose(task, draw, members)
            self.last = engine
            results: list[Any] = []
            products = SharedProducts()
            at = 0
            while at < len(members):
                chunk = members[at : at + self._chunk(engine, len(members) if at else min(2, len(members)))]
                results.append(self._run_chunk(engine, task, draw(chunk), chunk, products))
                at += len(chunk)
        if engine == "loop":
            return _stacked([value for result in results for value in result])
        return join(torch.cat, results) if len(results) > 1 else results[0]

    def _run_chunk(
        self, engine: str, task: Task, deltas: list[Delta], chunk: list[int], products: SharedProducts
    ) -> Any:
        if engine == "loop":
            return run_loop(self.parameters, deltas, task, chunk, self.warned)
        run = partial(run_fold, products=products) if engine == "fold" else run_vmap
        if len(chunk) == 1:
            return map_tensors(lambda t: t[:1], run(self.parameters, *_twice(deltas, task, chunk[0]), self.warned)[0])
        out, largest = run(self.parameters, deltas, task, chunk, self.warned)
        self._largest = max(self._largest, largest)
        return out

    def _chunk(self, engine: str, first: int) -> int:
        """Say how many members to take; before anything was measured, ``first``."""
        if self.chunk_size is not None:
            return self.chunk_size
        if not self._largest:
            return 16 if engine == "loop" else first
        factors = 4 * sum(shape.numbers for shape in self.shapes)
        size = (self.memory_budget or _BUDGET) // (_LIVE * self._largest + 2 * factors)
        least = 2 if self.memory_budget is not None else _WORTHWHILE
        return max(2 * (size // 2), least)

    def _choose(self, task: Task, draw: Callable[[list[int]], list[Delta]], members: list[int]) -> str:
        if task.forward is None and self.engine in ("auto", "fold"):
            return "loop"  # the task may look at numbers
        if self.chosen is not None:
            return self.chosen
        reason = ""
        tried = (self.engine,) if self.engine != "auto" else ("fold", "vmap")
        for engine in tried:
            failure = self._failure(engine, task, draw, members[:2])
            if failure is None:
                self.chosen = engine
                return engine
            reason = reason or failure
        if self.engine != "auto":
            raise RuntimeError(f"engine={self.engine!r} can not evaluate this model: {reason}; use engine='auto'")
        warnings.warn(f"torcheggroll evaluates one member after the other, since {reason}", stacklevel=5)
        self.chosen = "loop"
        return "loop"

    def _failure(self, engine: str, task: Task, draw: Callable[[list[int]], list[Delta]], two: list[int]) -> str | None:
        """Try two members against the loop; gives the reason why the engine will not do."""
        deltas = draw(two)
        want = tensors_of(_stacked(run_loop(self.parameters, deltas, task, two, self.warned)))
        try:
            got = tensors_of(self._run_chunk(engine, task, deltas, two, SharedProducts()))
        except Exception as error:
            return f"{engine} met {type(error).__name__}: {error}".splitlines()[0]
        if len(got) == len(want) > 0 and all(_agree(g, w) for g, w in zip(got, want, strict=True)):
            return None
        return f"{engine} and the loop disagree"


def _twice(deltas: list[Delta], task: Task, member: int) -> tuple[list[Delta], Task, list[int]]:
    """Put a copy beside a single member: libraries treat a batch of one otherwise, and round it otherwise."""
    both = [Delta(*(None if t is None else torch.cat([t, t]) for t in delta)) for delta in deltas]
    data = [value[member].expand(2, *value.shape[1:]).contiguous() for value in task.data]
    return both, Task(task.forward, task.finish, data), [0, 1]


def precise_dtype(dtype: torch.dtype) -> torch.dtype:
    """Give the dtype of factors and estimates: float32, or float64 for float64 parameters."""
    return torch.float64 if dtype in (torch.float64, torch.complex128) else torch.float32


def _agree(got: Tensor, want: Tensor) -> bool:
    if got.shape != want.shape:
        return False
    tolerance = _AGREE if want.dtype in (torch.float32, torch.float64) else 0.1
    scale = want.double().abs().nan_to_num(0, 0, 0).max() if want.numel() else 0.0
    return torch.allclose(got.double(), want.double(), rtol=tolerance, atol=float(tolerance * scale), equal_nan=True)


def _stacked(results: list[Any]) -> Any:
    """Join what the loop gave, where it is tensors."""
    if any(not tensors_of(result) for result in results):
        return results
    return join(torch.stack, results)


def sliced(tree: Any, population: int, name: str) -> list[Tensor]:
    """List the tensors of ``tree``, of which each member gets its own slice."""
    tensors = tensors_of(tree)
    for tensor in tensors:
        if tensor.dim() == 0 or tensor.shape[0] != population:
            raise ValueError(
                f"per-member {name} must have the population, {population}, in front, got shape {tuple(tensor.shape)}; "
                "stack one slice per member, or share it with per_member=False"
            )
    return tensors


def refill(tree: Any, tensors: list[Tensor]) -> Any:
    """Put other tensors in the place of a tree's own."""
    given = iter(tensors)
    return map_tensors(lambda _: next(given), tree)
