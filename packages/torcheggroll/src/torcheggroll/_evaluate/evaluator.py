"""Evaluates members in chunks that fit in memory, by the fastest engine that is correct for the model.

An engine is compared with the loop before it is used, and again at intervals. If it refuses a model or disagrees with
the loop, the next engine is used, and one warning gives the reason.
"""

from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from .._checks import check_integer
from ..filters import NamedParameter
from ..noise.perturbation import Delta
from .budget import keep_freed_memory, memory_for_a_chunk
from .fold import Fold
from .loop import Loop, perturbed_weights
from .probe import Probe, rounding_of, split
from .randomness import CommonRandomNumbers
from .state import StartingPoint, evaluation
from .task import Task
from .trace import first_difference
from .tree import map_tensors
from .vmap import Vmap
from .warn import WarnOnce

ENGINES = ("auto", "vmap", "fold", "loop")
_WORTHWHILE = 8  # fewer members at once would spend the time on calling ops
_LIVE = 4  # tensors of the largest size that are alive at once, roughly
PROBED = 4  # members: two pairs, so that a leak from one to the other shows
_SLACK = 10.0  # times the rounding that a probe grants: what an audit of a step without amplification grants

DrawDeltas = Callable[[list[int]], list[Delta]]


class Engine(Protocol):
    """Evaluates chunks of members; made anew for each evaluation, so that nothing outlives it."""

    largest: int  # bytes of a member's largest tensor so far
    used: set[str]  # names of the parameters that ops were seen to use
    at: str  # the op that it failed at

    def run(self, deltas: Sequence[Delta], task: Task) -> Any:
        """Returns the results of a chunk."""
        ...

    def join(self, chunks: Iterable[Any], members: int) -> Any:
        """Joins the results of chunks, which are computed on demand."""
        ...


_MAKE: dict[str, Callable[[Sequence[NamedParameter], WarnOnce, StartingPoint], Engine]] = {
    "fold": Fold,
    "vmap": Vmap,
    "loop": Loop,
}


class _Request(NamedTuple):
    """One evaluation: what is asked of whom, from where."""

    task: Task
    draw: DrawDeltas
    members: list[int]
    start: StartingPoint

    def some(self, first: int, last: int) -> tuple[Task, list[Delta]]:
        """Returns the task and the perturbations of members by their position."""
        return self.task.of(first, last), self.draw(self.members[first:last])


class Evaluator:
    """Runs a task on members of the population.

    Args:
        model: evaluated with every flag on evaluation; left as it was found.
        parameters: the evolved ones.
        engine: one of ``ENGINES``.
        chunk_size: members at a time, or None for ``memory_budget``.
        memory_budget: bytes for a chunk's activations and factors.
        audit_every: evaluations between two audits of a fast engine; 0 for none.
    """

    def __init__(
        self,
        model: nn.Module,
        parameters: Sequence[NamedParameter],
        engine: str,
        chunk_size: int | None,
        memory_budget: int | None,
        audit_every: int = 100,
    ) -> None:
        check_integer("audit_every", audit_every, "[0, inf)")
        self.model = model
        self.parameters: list[NamedParameter] = list(parameters)
        self.engine = engine
        self.chunk_size = chunk_size
        self.memory_budget = memory_budget
        self.audit_every = audit_every
        self.warn = WarnOnce()
        self.last: str = engine if engine in ("vmap", "loop") else "loop"
        self.acts = True  # whether the parameters were seen to change the results
        self._settled: dict[Hashable, str] = {}  # kind of task to engine
        self._faults: dict[Hashable, dict[str, str]] = {}  # kind of task to engines that will not do, and why
        self._python: dict[Hashable, bool] = {}  # kind of task to whether it draws from Python's or NumPy's streams
        self._count = 0  # evaluations by a fast engine
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

        Raises:
            RuntimeError: the engine that the user named can not evaluate this model.
        """
        if not members:
            return []
        if self.parameters[0].value.device.type == "cpu":
            keep_freed_memory()
        with self._started(task) as start:
            return self._evaluated(_Request(task, draw, members, start))

    def advance(self, task: Task) -> None:
        """Evaluates the centre once, and leaves the model in the state that this leads to."""
        with self._started(task, keep=True):
            task.call([])

    @contextmanager
    def member(self, deltas: Sequence[Delta]) -> Generator[None, None, None]:
        """Lets the model be one member inside the ``with``; afterwards it is what it was, to the bit."""
        with self._started(None), perturbed_weights(self.parameters, deltas, self.warn):
            yield

    @contextmanager
    def _started(self, task: Task | None, keep: bool = False) -> Generator[StartingPoint, None, None]:
        weights = [p.value for p in self.parameters]
        kind = None if task is None else task.kind
        python = self._python.get(kind, True)
        numbers = CommonRandomNumbers(None if task is None else task.key, weights[0].device, python)
        shared = [] if task is None else task.shared
        with numbers.evaluation(), evaluation(self.model, weights, shared, keep) as state:
            yield StartingPoint(state, numbers)
        self._python[kind] = numbers.drawn if python else False

    def _evaluated(self, request: _Request) -> Any:
        """Evaluates by the first engine that is right; what it found out about engines is kept where that succeeds."""
        kind = request.task.kind
        faults = dict(self._faults.get(kind, {}))
        results: Any = None
        while True:
            self.last = self._choose(request, faults)
            engine = self._made(self.last, request)
            try:
                results = engine.join(self._chunks(engine, request), len(request.members))
                fault = self._audit(request, results)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                if self.last == "loop" or (self.engine != "auto" and not isinstance(error, RuntimeError)):
                    raise
                fault = _described(self.last, error, engine)
                if self.engine != "auto":
                    raise RuntimeError(self._refusal(fault)) from error
            if fault is None:
                break
            faults[self.last] = fault
        self._settled[kind], self._faults[kind] = self.last, faults
        if faults and self.last != self.engine:
            how = {"loop": "one member after the other", "vmap": "members under vmap"}[self.last]
            self.warn(f"engine {self.last}", f"torcheggroll evaluates {how}, since {'; '.join(faults.values())}")
        return results

    def _chunks(self, engine: Engine, request: _Request) -> Iterator[Any]:
        task, members = request.task, request.members
        at = 0
        while at < len(members):
            chunk = members[at : at + self._chunk(len(members) if at else min(2, len(members)))]
            behind = at + len(chunk)
            request.start.again()
            yield self._run_chunk(engine, request.draw(chunk), task.of(at, behind))  # no name keeps the draw
            at = behind

    def _made(self, engine: str, request: _Request) -> Engine:
        return _MAKE[engine](self.parameters, self.warn, request.start)

    def _run_chunk(self, engine: Engine, deltas: Sequence[Delta], task: Task) -> Any:
        if deltas[0].members == 1 and not isinstance(engine, Loop):
            return map_tensors(lambda t: t[:1], engine.run(*_twice(deltas, task)))
        out = engine.run(deltas, task)
        self._measure(engine, deltas)
        return out

    def _measure(self, engine: Engine, deltas: Sequence[Delta]) -> None:
        """Notes how large one member's tensors are."""
        self._factors = sum(delta.size for delta in deltas)
        self._largest = max(self._largest, engine.largest)

    def _chunk(self, first: int) -> int:
        """Says how many members to take; before anything was measured, ``first``."""
        if self.chunk_size is not None:
            return self.chunk_size
        if not self._largest:
            return 16 if self.last == "loop" else first
        budget = self.memory_budget or memory_for_a_chunk(self.parameters[0].value.device)
        size = budget // (_LIVE * self._largest + 2 * self._factors)
        least = 2 if self.memory_budget is not None else _WORTHWHILE
        return max(2 * (size // 2), least)

    def _choose(self, request: _Request, faults: dict[str, str]) -> str:
        """Takes the engine that this kind of task was given to before, or the first that is right."""
        kind, task = request.task.kind, request.task
        settled = self._settled.get(kind)
        if settled is not None and settled not in faults:
            return settled
        if self.engine == "loop" or (task.forward is None and self.engine in ("auto", "fold")):
            return "loop"  # the task may look at numbers
        tried = ("fold", "vmap") if self.engine == "auto" else (self.engine,)
        probe = self._probe(request, 0)
        probe.effects(1.0)  # what the model or the loss themselves raise is the caller's to see
        for engine in tried:
            if engine not in faults:
                fault = self._fault(engine, request, probe)
                if fault is None:
                    self.tell_of_effects(probe)
                    return engine
                faults[engine] = fault
        if self.engine != "auto":
            raise RuntimeError(self._refusal(faults[self.engine]))
        self.tell_of_effects(probe)
        return "loop"

    def _refusal(self, fault: str) -> str:
        return (
            f"engine={self.engine!r} can not evaluate this model: {fault}; use engine='auto', which takes another "
            "engine where this one will not do, or engine='loop', which runs anything"
        )

    def tell_of_effects(self, probe: Probe) -> None:
        """Says where the selected parameters change nothing."""
        self.acts = probe.act() or not probe.perturbs()
        if not self.acts:
            names = ", ".join(p.name for p in self.parameters[:3]) + (", …" if len(self.parameters) > 3 else "")
            self.warn(
                "acts",
                f"the selected parameters ({names}) must change the result, but a thousand times sigma changes "
                "nothing: no step will learn; select parameters that forward uses, or check that the loss depends on "
                "the outputs",
            )

    def _probe(self, request: _Request, first: int) -> Probe:
        task, deltas = request.some(first, min(first + PROBED, len(request.members)))
        if deltas[0].members == 1:
            deltas, task = _twice(deltas, task)
        loop = self._made("loop", request)
        rounding = rounding_of([p.value for p in self.parameters])
        return Probe(task, deltas, loop.run, rounding)

    def _fault(self, name: str, request: _Request, probe: Probe) -> str | None:
        """Says why an engine is not right, or None where it is."""
        scripted = self._scripted()
        if scripted:
            return f"{name} can not look into TorchScript, which holds {scripted[0]!r}"
        engine = self._made(name, request)

        def run(deltas: Sequence[Delta], task: Task) -> Any:
            request.start.again()
            out = engine.join([engine.run(deltas, task)], deltas[0].members)
            self._measure(engine, deltas)
            return out

        def where(factor: float) -> str:
            return first_difference(probe, factor, self.parameters, name, request.start)

        try:
            return self.compare(name, probe, run, engine.used, where)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            return _described(name, error, engine)

    def compare(
        self,
        name: str,
        probe: Probe,
        run: Callable[[Sequence[Delta], Task], Any],
        used: Set[str],
        where: Callable[[float], str] = lambda factor: "",
    ) -> str | None:
        """Returns why an engine is not correct, or None if it is.

        Args:
            name: of this way, for messages.
            probe: the loop's results for a few members.
            run: evaluates members together, and joins their results.
            used: names of the parameters whose use it saw, once it ran.
            where: names the place of a difference at an amplification.

        Raises:
            Exception: whatever the model raises, or ``run``.
        """
        factor = probe.disagrees(run)
        if factor is not None:
            return f"{name} and the loop disagree{where(factor)}"
        unseen = [p.name not in used for p in self.parameters]
        if any(unseen) and probe.alone(unseen):
            names = [p.name for p, mine in zip(self.parameters, unseen, strict=True) if mine]
            return f"{name} does not see how {names[0]!r} is used"
        return None

    def _scripted(self) -> list[str]:
        """Lists the evolved parameters that belong to TorchScript."""
        found = {
            id(p)
            for module in self.model.modules()
            if isinstance(module, torch.jit.ScriptModule)
            for p in module.parameters()
        }
        return [p.name for p in self.parameters if id(p.value) in found]

    def _audit(self, request: _Request, results: Any) -> str | None:
        """Holds a step's own results, and the engine on amplified perturbations, against the loop, now and then."""
        if self.last == "loop" or request.task.forward is None:
            return None
        self._count += 1
        if not self.audit_every or self._count % self.audit_every:
            return None
        count = len(request.members)
        pairs = max((count - PROBED) // 2 + 1, 1)
        first = 2 * (self._count // self.audit_every * 0x9E3779B1 % pairs)  # another one each time
        probe = self._probe(request, first)
        own = split(results, count)[first : first + PROBED]
        own = own * 2 if count == 1 else own
        if not probe.effects(1.0).agree(own, _SLACK):
            where = first_difference(probe, 1.0, self.parameters, self.last, request.start)
            return f"{self.last} and the loop disagree at evaluation {self._count}{where}"
        return self._fault(self.last, request, probe)


def _described(name: str, error: Exception, engine: Engine) -> str:
    """Names an engine, the error that it met, and the op it met it at."""
    message = (str(error).splitlines() or [""])[0]
    place = f" in {engine.at}" if engine.at and engine.at not in message else ""
    return f"{name} met {type(error).__name__}: {message}{place}"


def _twice(deltas: Sequence[Delta], task: Task) -> tuple[list[Delta], Task]:
    """Puts a copy beside a single member: libraries treat a batch of one otherwise, and round it otherwise."""
    both = [Delta(*(None if t is None else torch.cat([t, t]) for t in delta)) for delta in deltas]
    return both, task._replace(data=[value.expand(2, *value.shape[1:]).contiguous() for value in task.data])
