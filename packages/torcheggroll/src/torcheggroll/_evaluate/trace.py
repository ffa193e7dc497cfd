"""The first op at which an engine deviates: the ops of the fold, one by one, compared with those of the loop."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..filters import NamedParameter
from ..noise.perturbation import Delta
from .fold import Fold
from .folded import walk
from .intercept import METADATA, op_name
from .loop import one_member, perturbed_weights
from .probe import Probe, amplified, norm_of
from .rules import OPENED
from .state import StartingPoint
from .warn import WarnOnce

_KEPT = 4096  # numbers of each result that are compared


class Result(NamedTuple):
    """The result of an op for one member."""

    op: str
    values: list[Tensor]


class Recorder(TorchFunctionMode):
    """Notes what every op gives."""

    def __init__(self) -> None:
        super().__init__()
        self.results: list[Result] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Notes one op."""
        if func in OPENED:
            return OPENED[func](self, *args, **(kwargs or {}))
        out = func(*args, **(kwargs or {}))
        if func not in METADATA:
            self.note(op_name(func), out)
        return out

    def note(self, op: str, out: Any) -> None:
        """Keeps some numbers of a result."""
        self.results.append(Result(op, [_some(tensor) for tensor in walk(out)]))


def _some(tensor: Tensor) -> Tensor:
    flat = tensor.detach().reshape(-1)
    return flat[:: max(len(flat) // _KEPT, 1)].to(torch.complex128 if flat.is_complex() else torch.float64)


def first_difference(
    probe: Probe, factor: float, parameters: Sequence[NamedParameter], engine: str, start: StartingPoint
) -> str:
    """Says at which op results part, in words that end a sentence; nothing where it is not seen."""
    if engine != "fold" or probe.task.forward is None:
        return ""
    deltas = amplified(probe.deltas, factor)
    for member in (0, deltas[0].members - 1):
        op = _parting(probe, deltas, member, parameters, start)
        if op:
            return f", from {op} on"
    return ""


def _parting(
    probe: Probe, deltas: Sequence[Delta], member: int, parameters: Sequence[NamedParameter], start: StartingPoint
) -> str:
    """Returns the op at which a member's results part from the loop's."""
    quiet = WarnOnce(silent=True)
    some = deltas, amplified(deltas, 0.0)
    loop, centre = (_recorded(probe, own, member, parameters, start, quiet) for own in some)
    fold, own = Fold(parameters, quiet, start), Recorder()
    fold.note, fold.noted = own.note, member
    try:
        start.again()
        fold.run(deltas, probe.task)
    except Exception:
        return fold.at
    finally:
        start.again()
    for got, want, before in zip(own.results, loop, centre, strict=False):
        if got.op != want.op or not _alike(got.values, want.values, before.values):
            return want.op
    return ""


def _alike(got: list[Tensor], want: list[Tensor], before: list[Tensor]) -> bool:
    for a, b, c in zip(got, want, before, strict=False):
        if a.shape != b.shape:
            return False
        effect = norm_of(b - c) if b.shape == c.shape else 0.0
        if norm_of(a - b) > 0.1 * effect + 1e-4 * norm_of(b):
            return False
    return True


def _recorded(
    probe: Probe,
    deltas: Sequence[Delta],
    member: int,
    parameters: Sequence[NamedParameter],
    start: StartingPoint,
    quiet: WarnOnce,
) -> list[Result]:
    recorder = Recorder()
    start.again()
    assert probe.task.forward is not None
    with perturbed_weights(parameters, one_member(deltas, member), quiet), recorder:
        probe.task.forward([value[member].clone() for value in probe.task.data])
    return recorder.results
