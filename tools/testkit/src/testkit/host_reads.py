"""Host reads: where a program waits for the device to learn a number, a truth or a size."""

import inspect
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READING_OPERATORS = frozenset(
    "aten::" + name
    for name in (
        "_local_scalar_dense", "item", "is_nonzero", "equal", "allclose",
        "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "repeat_interleave",
    )
)  # fmt: skip
MASKING_OPERATORS = frozenset("aten::" + name for name in ("index", "index_put", "index_put_", "_index_put_impl_"))
READING_METHODS = frozenset(
    cast("Callable[..., Any]", getattr(Tensor, name)) for name in ("tolist", "numpy", "cpu", "__array__")
)  # they never reach the dispatcher where the tensor is on the CPU already


def written_by(operator: Any, args: Sequence[Any]) -> list[Tensor]:
    """Returns the tensors among ``args`` that an operator of the dispatcher writes to, as its schema says."""
    written = [
        value
        for value, argument in zip(args, operator._schema.arguments, strict=False)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    return [leaf for leaf in tree_leaves(written) if isinstance(leaf, Tensor)]


class HostRead(NamedTuple):
    """One read: what asked, and from which line."""

    operator: str
    place: str

    def __str__(self) -> str:
        return f"{self.operator} at {self.place}"


class HostReads(list[HostRead]):
    """The reads in the order they came; ``len`` counts them."""

    def __str__(self) -> str:
        return ", ".join(f"{count} × {read}" for read, count in Counter(self).items()) or "none"


class _Watch:
    """Which tensors are on the device: those named, and whatever is computed from them."""

    def __init__(self, on_device: Iterable[Tensor] | None) -> None:
        self.reads = HostReads()
        self.everything = on_device is None
        self.watched: dict[int, Tensor] = {}  # by address; holding the tensors keeps addresses from being given twice
        self.add(on_device or ())

    def add(self, tensors: Iterable[Any]) -> None:
        for tensor in tensors:
            if isinstance(tensor, Tensor) and tensor.layout is torch.strided and tensor.numel():
                self.watched[tensor.untyped_storage().data_ptr()] = tensor

    def sees(self, values: Iterable[Any]) -> bool:
        return any(
            isinstance(value, Tensor)
            and (
                self.everything
                or value.layout is not torch.strided
                or value.untyped_storage().data_ptr() in self.watched
            )
            for value in values
        )

    def note(self, operator: str) -> None:
        self.reads.append(HostRead(operator, _caller()))


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operator that runs, follows the device's tensors through it, and notes those that read."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # pyright: ignore[reportUnknownMemberType]
        self.watch = watch

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        inputs: list[Any] = tree_leaves((args, kwargs or {}))
        if not self.watch.sees(inputs):
            return func(*args, **(kwargs or {}))
        schema = func._schema
        masks = schema.name in MASKING_OPERATORS and any(
            isinstance(index, Tensor) and index.dtype is torch.bool for index in tree_leaves(args[1])
        )
        if schema.name in READING_OPERATORS or masks:
            self.watch.note(schema.name)
        result = func(*args, **(kwargs or {}))
        self.watch.add([*tree_leaves(result), *written_by(func, args)])
        return result


class _Methods(TorchFunctionMode):
    """Sees the methods that hand a tensor's numbers to Python without any operator."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in READING_METHODS and self.watch.sees(args[:1]):
            self.watch.note(f"Tensor.{func.__name__}")
        return func(*args, **(kwargs or {}))


def _caller() -> str:
    """Returns the file and line of the innermost frame that is neither in this file nor in torch, its optim apart."""
    frame = inspect.currentframe()
    torch_folder = Path(torch.__file__).parent
    inside, optimizers = (str(torch_folder), __file__), str(torch_folder / "optim")
    while frame is not None and frame.f_back is not None:
        file = frame.f_code.co_filename
        if file.startswith(optimizers) or not file.startswith(inside):
            break
        frame = frame.f_back
    return "an unknown line" if frame is None else f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


@contextmanager
def count_host_reads(on_device: Iterable[Tensor] | None = None) -> Generator[HostReads, None, None]:
    """Counts the host reads of a block; works on the CPU, where a read costs nothing and is counted all the same.

    Args:
        on_device: the tensors that would live on an accelerator, such as parameters, gradients, moments and the loss.
            Reads of these, and of whatever is computed from them, count; reads of others, such as a step count that
            stays on the host, do not. ``None``: every read counts.

    Yields:
        The reads, which fill as they come.
    """
    watch = _Watch(on_device)
    with _Methods(watch), _Operators(watch):
        yield watch.reads
