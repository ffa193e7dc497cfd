"""Evaluates members in chunks that fit in memory, by the engine that suits the model."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..filters import NamedParameter
from ..noise.perturbation import Delta
from .fold import Fold
from .loop import Loop, perturbed_weights
from .task import Task, evaluation_mode
from .tree import map_tensors, tensors_of
from .vmap import Vmap
from .warn import WarnOnce

ENGINES = ("auto", "vmap", "fold", "loop")
_BUDGET = 8 << 20  # bytes: activations of a chunk that still live in a core's cache
_WORTHWHILE = 8  # fewer members at once would spend the time on calling ops
_LIVE = 4  # tensors of the largest size that are alive at once, roughly
_AGREE = 1e-3  # relative difference between engines that is rounding and no misunderstanding

DrawDeltas = Callable[[list[int]], list[Delta]]


class Engine(Protocol):
    """Evaluates chunks of members; made anew for each evaluation, so that nothing outlives it."""

    largest: int  # bytes of a member's largest tensor so far

    def run(self, deltas: Sequence[Delta], task: Task) -> Any:
        """Returns the results of a chunk."""
        ...

    def join(self, chunks: list[Any]) -> Any:
        """Joins the results of chunks."""
        ...


_MAKE: dict[str, Callable[[Sequence[NamedParameter], WarnOnce], Engine]] = {"fold": Fold, "vmap": Vmap, "loop": Loop}


class Evaluator:
    """Runs a task on members of the population.

    Args:
        model: evaluated in eval mode; modes are restored.
        parameters: the evolved ones.
        engine: one of ``ENGINES``.
        chunk_size: members at a time, or None for ``memory_budget``.
        memory_budget: bytes for a chunk's activations and factors.
    """

    def __init__(
        self,
        model: nn.Module,
        parameters: Sequence[NamedParameter],
        engine: str,
        chunk_size: int | None,
        memory_budget: int | None,
    ) -> None:
        self.model = model
        self.parameters: list[NamedParameter] = list(parameters)
        self.engine = engine
        self.chunk_size = chunk_size
        self.memory_budget = memory_budget
        self.chosen: str | None = None if engine in ("auto", "fold") else engine
        self.warn = WarnOnce()
        self.last: str = self.chosen or "loop"
        self._largest = 0  # bytes of a member's largest tensor
        self._factors = 0  # bytes of a member's perturbations

    def run(self, task: Task, draw: DrawDeltas, members: list[int]) -> Any:
        """Evaluates some members.

        Args:
            task: what to ask of each; its data has one slice per member of ``members``.
            draw: gives the perturbations of some members.
            members: their numbers, in ascending order.

        Returns:
            The results joined, members in front: tensors, or a list of whatever each member gave.
        """
        if not members:
            return []
        with evaluation_mode(self.model):
            self.last = self._choose(task, draw, members)
            engine = self._made(self.last)
            results: list[Any] = []
            at = 0
            while at < len(members):
                chunk = members[at : at + self._chunk(len(members) if at else min(2, len(members)))]
                behind = at + len(chunk)
                results.append(self._run_chunk(engine, draw(chunk), task.of(at, behind)))  # no name keeps the draw
                at = behind
        return engine.join(results)

    @contextmanager
    def member(self, deltas: Sequence[Delta]) -> Generator[None, None, None]:
        """Lets the model be one member inside the ``with``; afterwards it is what it was, to the bit."""
        with evaluation_mode(self.model), perturbed_weights(self.parameters, deltas, self.warn):
            yield

    def _made(self, engine: str) -> Engine:
        return _MAKE[engine](self.parameters, self.warn)

    def _run_chunk(self, engine: Engine, deltas: list[Delta], task: Task) -> Any:
        if deltas[0].members == 1 and not isinstance(engine, Loop):
            return map_tensors(lambda t: t[:1], engine.run(*_twice(deltas, task)))
        out = engine.run(deltas, task)
        numbers = sum(t.numel() * t.element_size() for delta in deltas for t in delta.tensors)
        self._factors = numbers // deltas[0].members
        self._largest = max(self._largest, engine.largest)
        return out

    def _chunk(self, first: int) -> int:
        """Says how many members to take; before anything was measured, ``first``."""
        if self.chunk_size is not None:
            return self.chunk_size
        if not self._largest:
            return 16 if self.last == "loop" else first
        size = (self.memory_budget or _BUDGET) // (_LIVE * self._largest + 2 * self._factors)
        least = 2 if self.memory_budget is not None else _WORTHWHILE
        return max(2 * (size // 2), least)

    def _choose(self, task: Task, draw: DrawDeltas, members: list[int]) -> str:
        if task.forward is None and self.engine in ("auto", "fold"):
            return "loop"  # the task may look at numbers
        if self.chosen is not None:
            return self.chosen
        reason = ""
        tried = (self.engine,) if self.engine != "auto" else ("fold", "vmap")
        for engine in tried:
            failure = self._failure(engine, task.of(0, 2), draw(members[:2]))
            if failure is None:
                self.chosen = engine
                return engine
            reason = reason or failure
        if self.engine != "auto":
            raise RuntimeError(f"engine={self.engine!r} can not evaluate this model: {reason}; use engine='auto'")
        self.warn("engine", f"torcheggroll evaluates one member after the other, since {reason}")
        self.chosen = "loop"
        return "loop"

    def _failure(self, engine: str, task: Task, deltas: list[Delta]) -> str | None:
        """Tries two members against the loop; gives the reason why the engine will not do."""
        loop = self._made("loop")
        want = tensors_of(loop.join([loop.run(deltas, task)]))
        try:
            got = tensors_of(self._run_chunk(self._made(engine), deltas, task))
        except Exception as error:
            return f"{engine} met {type(error).__name__}: {error}".splitlines()[0]
        if len(got) == len(want) > 0 and all(_agree(g, w) for g, w in zip(got, want, strict=True)):
            return None
        return f"{engine} and the loop disagree"


def _twice(deltas: list[Delta], task: Task) -> tuple[list[Delta], Task]:
    """Puts a copy beside a single member: libraries treat a batch of one otherwise, and round it otherwise."""
    both = [Delta(*(None if t is None else torch.cat([t, t]) for t in delta)) for delta in deltas]
    return both, task._replace(data=[value.expand(2, *value.shape[1:]).contiguous() for value in task.data])


def _agree(got: Tensor, want: Tensor) -> bool:
    if got.shape != want.shape:
        return False
    tolerance = _AGREE if want.dtype in (torch.float32, torch.float64) else 0.1
    scale = want.double().abs().nan_to_num(0, 0, 0).max() if want.numel() else 0.0
    return torch.allclose(got.double(), want.double(), rtol=tolerance, atol=float(tolerance * scale), equal_nan=True)
