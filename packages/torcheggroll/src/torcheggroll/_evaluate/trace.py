"""Which op was the first to go wrong: the ops of the fold, one by one, beside those of the loop."""

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
    """What an op gave to one member."""

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
    """Says at which op the first member's results part, in words that end a sentence; nothing where it is not seen."""
    if engine != "fold" or probe.task.forward is None:
        return ""
    deltas = amplified(probe.deltas, factor)
    quiet = WarnOnce(silent=True)
    loop, centre = (_recorded(parameters, some, probe, start, quiet) for some in (deltas, amplified(deltas, 0.0)))
    fold, own = Fold(parameters, quiet, start), Recorder()
    fold.note = own.note
    try:
        start.again()
        fold.run(deltas, probe.task)
    except Exception:
        return f", from {fold.at} on" if fold.at else ""
    finally:
        start.again()
    for got, want, before in zip(own.results, loop, centre, strict=False):
        if got.op != want.op or not _alike(got.values, want.values, before.values):
            return f", from {want.op} on"
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
    parameters: Sequence[NamedParameter], deltas: Sequence[Delta], probe: Probe, start: StartingPoint, quiet: WarnOnce
) -> list[Result]:
    recorder = Recorder()
    start.again()
    assert probe.task.forward is not None
    with perturbed_weights(parameters, one_member(deltas, 0), quiet), recorder:
        probe.task.forward([value[0].clone() for value in probe.task.data])
    return recorder.results
