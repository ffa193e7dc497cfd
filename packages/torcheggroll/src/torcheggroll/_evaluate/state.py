"""The state of a model beside its evolved weights: saved for an evaluation, and restored to the bit.

Every member starts from the same buffers, attributes and containers, and none changes those of the centre. Training
mode is set through the flags, because some modules merge or quantise their weights in ``train()`` and ``eval()``.
"""

from collections import deque
from collections.abc import Generator, Iterable
from contextlib import contextmanager, nullcontext
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn

from .folded import storage_of
from .randomness import CommonRandomNumbers
from .watch import Watch

_OPAQUE = (type, FunctionType, MethodType, BuiltinFunctionType, ModuleType, str, bytes, int, float, complex,
           torch.dtype, torch.device, torch.Size, type(None), torch.Generator)  # fmt: skip
_STANDARD = frozenset(nn.Module().__dict__) - {"_buffers"}  # dictionaries of every module, restored but not entered


class ModelState:
    """A copy of buffers, attributes and whatever containers and objects hang on them.

    Args:
        model: of any kind.
        evolved: parameters that are looked after elsewhere.
        inputs: tensors of the caller that a forward may write into.
    """

    def __init__(self, model: nn.Module, evolved: Iterable[Tensor], inputs: Iterable[Tensor] = ()) -> None:
        self._evolved = {id(p) for p in evolved}
        self._seen: set[int] = set()
        self._tensors: list[tuple[Tensor, Tensor, Tensor, int]] = []
        self._mappings: list[tuple[dict[Any, Any], dict[Any, Any], list[int]]] = []
        self._empty: list[dict[Any, Any]] = []
        self._lists: list[tuple[list[Any] | deque[Any], list[Any]]] = []
        self._sets: list[tuple[set[Any], set[Any]]] = []
        self._waiting: list[Any] = []
        self._frozen: dict[int, list[Tensor]] = {}  # by storage, until they are written to
        for module in model.modules():
            self._module(module)
        self._waiting.extend(inputs)
        while self._waiting:
            self._enter(self._waiting.pop())

    def restore(self) -> None:
        """Brings everything back."""
        for mapping in self._empty:
            if mapping:
                mapping.clear()
        for mapping, items, values in self._mappings:
            if list(map(id, mapping.values())) != values or list(mapping) != list(items):
                mapping.clear()
                mapping.update(items)
        for sequence, values in self._lists:
            if len(sequence) != len(values) or any(a is not b for a, b in zip(sequence, values, strict=True)):
                sequence.clear()
                sequence.extend(values)
        for own, members in self._sets:
            if own != members:
                own.clear()
                own.update(members)
        with torch.no_grad():
            for at, (tensor, storage, copy, version) in enumerate(self._tensors):
                if tensor.data_ptr() != storage.data_ptr() or tensor.shape != storage.shape:
                    tensor.data = storage
                if _version(storage) != version or (storage.device.type == "cpu" and not torch.equal(storage, copy)):
                    storage.copy_(copy)
                    self._tensors[at] = tensor, storage, copy, _version(storage)

    @property
    def frozen(self) -> bool:
        """Whether parameters that are not evolved might be written to."""
        return bool(self._frozen)

    def before_write(self, tensor: Tensor) -> None:
        """Keeps a copy of what is about to be written into."""
        if tensor.layout == torch.strided and not tensor.is_meta:
            for parameter in self._frozen.pop(storage_of(tensor), []):
                self._tensor(parameter)

    def _module(self, module: nn.Module) -> None:
        self._seen.add(id(module))
        held = module.__dict__
        self._mapping(held, enter=False)
        for name, value in held.items():
            if name not in _STANDARD:
                self._waiting.append(value)
            elif isinstance(value, dict):
                self._mapping(value, enter=False)
        if isinstance(module, torch.jit.ScriptModule):
            self._waiting.extend(module.buffers(recurse=False))
        if type(module).train is not nn.Module.train or type(module).eval is not nn.Module.eval:
            self._waiting.extend(p for p in module.parameters(recurse=False))  # what train() or eval() may merge into
            return
        for p in module.parameters(recurse=False):
            if id(p) not in self._evolved and p.layout == torch.strided and not p.is_meta:
                self._frozen.setdefault(storage_of(p), []).append(p)

    def _mapping(self, mapping: Any, enter: bool) -> None:
        if not mapping:
            self._empty.append(mapping)
            return
        self._mappings.append((mapping, dict(mapping), list(map(id, mapping.values()))))
        if enter:
            self._waiting.extend(mapping.values())

    def _enter(self, value: Any) -> None:
        if isinstance(value, _OPAQUE) or id(value) in self._seen:
            return
        self._seen.add(id(value))
        if isinstance(value, Tensor):
            if id(value) not in self._evolved and not (isinstance(value, nn.Parameter) and value.is_meta):
                self._tensor(value)
        elif isinstance(value, nn.Module):  # one that its owner does not register
            self._module(value)
        elif isinstance(value, dict):
            self._mapping(value, enter=True)
        elif isinstance(value, list | deque):
            sequence = cast("list[Any]", value)
            self._lists.append((sequence, list(sequence)))
            self._waiting.extend(sequence)
        elif isinstance(value, set):
            own = cast("set[Any]", cast(object, value))
            self._sets.append((own, set(own)))
        elif isinstance(value, tuple | frozenset):
            self._waiting.extend(cast("tuple[Any, ...]", value))
        elif isinstance(getattr(value, "__dict__", None), dict):
            self._mapping(vars(value), enter=True)

    def _tensor(self, tensor: Tensor) -> None:
        if tensor.layout != torch.strided or tensor.is_meta:
            return
        storage = tensor.detach()
        self._tensors.append((tensor, storage, storage.clone(), _version(storage)))


class StartingPoint:
    """The starting point of every member: one state of the model, one state of the random streams.

    Args:
        state: of the model.
        numbers: the random streams.
    """

    def __init__(self, state: ModelState, numbers: CommonRandomNumbers) -> None:
        self.numbers = numbers
        self._state = state
        self._left = False

    def again(self) -> None:
        """Goes back to it; the first time, everything is there still."""
        if self._left:
            self._state.restore()
        self._left = True
        self.numbers.restart()


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


@contextmanager
def evaluation(
    model: nn.Module, evolved: Iterable[Tensor], inputs: Iterable[Tensor] = (), keep: bool = False
) -> Generator[ModelState, None, None]:
    """Evaluates without gradients and with every module's flag on evaluation; the model is left as it was found.

    Args:
        model: of any kind.
        evolved: parameters that are looked after elsewhere.
        inputs: tensors of the caller that a forward may write into.
        keep: leave the state that the evaluation ends with; only flags are given back.
    """
    flags = [(module, module.training) for module in model.modules()]
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it would hide the parameters from us
    try:
        for module, _ in flags:
            module.training = False
        state = ModelState(model, evolved, inputs)
        try:
            with torch.no_grad(), Watch(state.before_write) if state.frozen else nullcontext():
                yield state
        finally:
            if not keep:
                state.restore()
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
        for module, training in flags:
            module.training = training
