"""The check of a fast engine: the effects of perturbations in it, compared with those in the loop.

    e_i = y_i - y_0                                       (1)  the effect of member i: its results less the centre's
    ‖ŷ_i - y_i‖ ≤ 0.02 max_j ‖e_j‖ + ρ ‖y_i‖              (2)  ŷ: the engine's, y: the loop's; ρ: rounding

At a small σ results differ by less than the rounding of engines, and (2) would hold for an engine that gives every
member the same answer. σ is therefore multiplied by 1, 10, 100 and 1000 until the effects exceed the rounding. There
(2) must hold for whole pairs, so that a leak between members shows, for the outputs and for the loss.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from ..noise.perturbation import Delta
from .task import Task
from .tree import tensors_of

AMPLIFICATIONS = (1.0, 10.0, 100.0, 1000.0)
_SHARE = 0.02  # of an effect that an engine may be off by
_ROUNDINGS = 32  # units in the last place that engines may differ by
_COARSE_ROUNDINGS = 4  # the same in low precision, where a unit is large
_STANDS_OUT = 50  # times the rounding


class Effects(NamedTuple):
    """The loop's results at one amplification, leaf by leaf."""

    factor: float
    results: list[list[Tensor]]  # one list of leaves per member
    centre: list[list[Tensor]]  # of the unperturbed model, on each member's data
    rounding: float  # relative

    @property
    def sizes(self) -> list[float]:
        """The size of the largest effect on each leaf (1)."""
        rows = [
            [_distance(a, b) for a, b in zip(y, y0, strict=True)]
            for y, y0 in zip(self.results, self.centre, strict=True)
        ]
        return [max(column) for column in zip(*rows, strict=True)]

    def visible(self) -> bool:
        """Returns whether results leave the centre by more than rounding."""
        values = [max(norm_of(y[k]) for y in self.centre) for k in range(len(self.centre[0]))]
        clear = [
            size > _STANDS_OUT * self.rounding * value and size > 0
            for size, value in zip(self.sizes, values, strict=True)
        ]
        return bool(clear) and clear[-1] and any(clear)

    def act(self) -> bool:
        """Returns whether the perturbations change anything."""
        return any(size > 0 for size in self.sizes)

    def finite(self) -> bool:
        """Returns whether all results are finite."""
        return all(bool(torch.isfinite(leaf).all()) for leaves in self.results for leaf in leaves)

    def agree(self, got: list[list[Tensor]], slack: float = 1.0) -> bool:
        """Says whether an engine's results, all leaves or the last ones, are the loop's (2), with ``slack`` times ρ."""
        sizes = self.sizes
        for own, want in zip(got, self.results, strict=True):
            if not 0 < len(own) <= len(want):
                return False
            first = len(want) - len(own)
            for a, b, size in zip(own, want[first:], sizes[first:], strict=True):
                if a.shape != b.shape or not torch.equal(torch.isfinite(a), torch.isfinite(b)):
                    return False
                off = norm_of((a - b)[torch.isfinite(b)])
                if not off <= _SHARE * size + slack * self.rounding * norm_of(b):
                    return False
        return True


class Probe:
    """The loop's results for a few members, computed on demand, and the comparison of engines with them.

    Args:
        task: of these members; where it has a loss the outputs are compared too.
        deltas: their perturbations; whole pairs show a leak between members.
        loop: evaluates members one after the other.
        rounding: the least that any value is rounded by.
    """

    def __init__(
        self, task: Task, deltas: Sequence[Delta], loop: Callable[[Sequence[Delta], Task], list[Any]], rounding: float
    ) -> None:
        self.task = _with_outputs(task)
        self.deltas = list(deltas)
        self._loop = loop
        self._rounding = rounding
        self._effects: dict[float, Effects] = {}
        self._centre: list[list[Tensor]] | None = None

    def effects(self, factor: float) -> Effects:
        """Returns the loop's results for perturbations that are ``factor`` times as large."""
        if factor not in self._effects:
            results = self._loop(amplified(self.deltas, factor), self.task)
            mine = [leaves(result) for result in results]
            if self._centre is None:
                some = amplified(self.deltas, 0.0)
                if not self.task.data:
                    some = [Delta(*(None if t is None else t[:1] for t in d)) for d in some]
                centre = [leaves(result) for result in self._loop(some, self.task)]
                self._centre = centre if self.task.data else centre * len(mine)
            rounding = max(self._rounding, rounding_of(tensors_of(results)))
            self._effects[factor] = Effects(factor, mine, self._centre, rounding)
        return self._effects[factor]

    def disagrees(self, run: Callable[[Sequence[Delta], Task], Any]) -> float | None:
        """Returns the amplification at which an engine is not the loop, or None where it is.

        Args:
            run: evaluates members, and joins their results.

        Raises:
            Exception: whatever the engine raises.
        """
        at = self.effects(AMPLIFICATIONS[0])
        for at in self._bearable():
            if at.visible() and at.agree(self._run(run, at.factor)):
                return None
        return None if not at.visible() and at.agree(self._run(run, at.factor)) else at.factor

    def _bearable(self) -> Iterator[Effects]:
        """Yields the effects of larger and larger perturbations, for as long as the model bears them."""
        for factor in AMPLIFICATIONS:
            try:
                effects = self.effects(factor)
            except Exception:
                if factor == AMPLIFICATIONS[0]:
                    raise
                return
            if factor > AMPLIFICATIONS[0] and not effects.finite():
                return
            yield effects

    def perturbs(self) -> bool:
        """Returns whether anything is perturbed; with σ = 0 nothing is."""
        return any(all(bool(t.any()) for t in d.tensors) for d in self.deltas)

    def act(self) -> bool:
        """Returns whether the perturbations change anything, at any amplification."""
        return any(effects.act() for effects in self._bearable())

    def alone(self, chosen: Sequence[bool]) -> bool:
        """Returns whether the perturbations of some parameters, and no others, change what the loop gives."""
        own = [d if mine else amplified([d], 0.0)[0] for d, mine in zip(self.deltas, chosen, strict=True)]
        return Probe(self.task, own, self._loop, self._rounding).act()

    def _run(self, run: Callable[[Sequence[Delta], Task], Any], factor: float) -> list[list[Tensor]]:
        deltas = amplified(self.deltas, factor)
        return split(run(deltas, self.task), deltas[0].members)


def _with_outputs(task: Task) -> Task:
    """Asks for the tensors among the outputs beside the loss."""
    finish = task.finish
    if task.forward is None or finish is None:
        return task

    def both(outputs: Any, data: list[Any]) -> Any:
        return tensors_of(outputs), finish(outputs, data)

    return task._replace(finish=both)


def amplified(deltas: Sequence[Delta], factor: float) -> list[Delta]:
    """Scales the perturbations of some members."""
    return [
        Delta(None if d.left is None else d.left * factor, d.right, None if d.dense is None else d.dense * factor)
        for d in deltas
    ]


def leaves(result: Any) -> list[Tensor]:
    """Lists what one member gave as float64 tensors: tensors and numbers of any structure, the loss last."""
    found: list[Tensor] = []

    def enter(value: Any) -> None:
        if isinstance(value, Tensor):
            wide = torch.view_as_real(value) if value.is_complex() else value
            found.append(wide.detach().double())
        elif isinstance(value, bool | int | float):
            found.append(torch.tensor(float(value), dtype=torch.float64))
        elif isinstance(value, tuple | list):
            for part in cast("list[Any]", value):
                enter(part)
        else:
            for part in tensors_of(value):
                enter(part)

    enter(result)
    return found


def split(joined: Any, members: int) -> list[list[Tensor]]:
    """Lists the leaves of each member of a joined result, members in front."""
    columns = leaves(joined)
    return [[column[i] for column in columns] for i in range(members)]


def rounding_of(tensors: Sequence[Tensor]) -> float:
    """Says by how much of a value engines may differ, by the coarsest of some tensors."""
    units = [torch.finfo(t.dtype).eps for t in tensors if t.is_floating_point()]
    unit = max(units, default=torch.finfo(torch.float32).eps)
    return unit * (_ROUNDINGS if unit < 1e-4 else _COARSE_ROUNDINGS)


def _distance(a: Tensor, b: Tensor) -> float:
    """Returns the distance of two results, infinite for different shapes."""
    return norm_of((a - b).nan_to_num(0.0, 0.0, 0.0)) if a.shape == b.shape else max(norm_of(a), norm_of(b), 1.0)


def norm_of(tensor: Tensor) -> float:
    return float(cast(Any, tensor).norm()) if tensor.numel() else 0.0
