"""CUDA graphs: a function of tensors that repeats with the same shapes becomes one launch.

A graph repeats the kernels of one call on the addresses of that call, without Python. So a function qualifies only if
everything that changes between calls is a tensor that it is given; the graph copies these tensors to where its kernels
read. Before a graph counts, it is compared to the bit with the function itself, on other inputs than those it was
captured with.
"""

# Torch documents its foreach functions nowhere, and uses them in every optimizer.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor

Function = Callable[..., Iterable[Tensor]]

_BEFORE = 2  # calls of one kind before a capture: kernels are compiled and tables sent by then


class Captured(Protocol):
    """A captured function."""

    def replay(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Returns the results for other inputs, in memory of their own."""
        ...


class CudaGraph:
    """A function captured in a CUDA graph.

    Args:
        function: its inputs to its results; it reads nothing from the host.
        inputs: of the shapes, dtypes and device of all later ones.
        constants: other tensors that it reads, which must last as long as the graph.
    """

    def __init__(self, function: Function, inputs: Sequence[Tensor], constants: Sequence[Tensor]) -> None:
        self._constants = list(constants)
        self._inputs = [value.clone() for value in inputs]
        self._graph: Any = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._inputs[0].device):
            caller = torch.cuda.current_stream()
            try:
                self._results = self._captured(function, caller)
            finally:
                torch.cuda.set_stream(caller)  # older releases of torch leave a failed capture's stream behind

    def _captured(self, function: Function, caller: Any) -> list[Tensor]:
        aside = cast(Any, torch.cuda.Stream)()
        aside.wait_stream(caller)
        with torch.cuda.stream(aside):
            list(function(*self._inputs))  # libraries make their workspaces
        caller.wait_stream(aside)
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            return list(function(*self._inputs))

    def replay(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Returns the results for other inputs, in memory of their own."""
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        self._graph.replay()
        results = [torch.empty_like(value) for value in self._results]
        torch._foreach_copy_(results, self._results)
        return results


class Repeated:
    """Calls functions of tensors, and replays a graph instead once calls repeat; the results are the same bits."""

    def __init__(self) -> None:
        self.replays = 0  # calls that a graph answered
        self._kind: Hashable = None
        self._calls = 0  # of this kind
        self._graph: Captured | None = None
        self._right = False  # whether the graph was seen to give the function's bits
        self._refused = False

    def __call__(
        self,
        kind: Hashable,
        function: Function,
        inputs: Sequence[Tensor],
        constants: Callable[[], Sequence[Tensor]],
    ) -> Iterable[Tensor]:
        """Returns ``function(*inputs)``.

        Args:
            kind: functions and inputs of one kind differ in nothing but the numbers in ``inputs``.
            function: launches on the device of its inputs, and reads nothing from the host.
            inputs: all that changes between calls of a kind.
            constants: gives the other tensors that it reads.
        """
        if self._refused or not capturable(inputs[0].device):
            return function(*inputs)
        kind = kind, _modes(inputs[0].device)
        if kind != self._kind:
            self._kind, self._calls, self._graph, self._right = kind, 0, None, False
        self._calls += 1
        if self._graph is None:
            if self._calls >= _BEFORE:
                self._capture(function, inputs, constants)
            return function(*inputs)
        results = self._graph.replay(inputs)
        if not self._right:
            return self._compared(results, list(function(*inputs)))
        self.replays += 1
        return results

    def _capture(self, function: Function, inputs: Sequence[Tensor], constants: Callable[[], Sequence[Tensor]]) -> None:
        try:
            self._graph = capture(function, inputs, constants())
        except Exception:  # whatever CUDA, Triton or a library will not have in a capture, it runs outside
            self._refused = True

    def _compared(self, results: list[Tensor], expected: list[Tensor]) -> list[Tensor]:
        self._right = all(torch.equal(a, b) for a, b in zip(results, expected, strict=True))
        if not self._right:
            self._graph, self._refused = None, True
        return expected

    def __deepcopy__(self, memo: dict[int, Any]) -> "Repeated":
        """Begins anew: a graph can not be copied."""
        return Repeated()

    def __reduce__(self) -> tuple[type["Repeated"], tuple[()]]:
        """Begins anew where it is unpickled."""
        return Repeated, ()


def capture(function: Function, inputs: Sequence[Tensor], constants: Sequence[Tensor]) -> Captured:
    """Captures a function; every capture of the package passes here.

    Args:
        function, inputs, constants: as in `CudaGraph`.
    """
    return CudaGraph(function, inputs, constants)


def capturable(device: torch.device) -> bool:
    """Returns whether a function can be captured: on CUDA, where nobody captures already or watches single ops."""
    watched = torch._C._len_torch_dispatch_stack()
    return device.type == "cuda" and _initialized() and not watched and not capturing()


def capturing() -> bool:
    """Returns whether somebody captures a graph in this thread's stream."""
    return _initialized() and torch.cuda.is_current_stream_capturing()


def _initialized() -> bool:
    cuda: Any = torch.cuda
    return bool(cuda.is_initialized())  # which a tensor on a GPU implies, and fake tensors do not


def _modes(device: torch.device) -> Hashable:
    """Returns the settings of torch that decide which kernels a call launches."""
    cuda: Any = torch.backends.cuda
    precision = getattr(cuda.matmul, "fp32_precision", None) or cuda.matmul.allow_tf32  # the latter before torch 2.9
    return (
        precision,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled(device.type),
    )
