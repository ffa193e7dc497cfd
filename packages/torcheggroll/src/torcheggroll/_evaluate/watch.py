"""Detects writes to frozen parameters before they happen, so that only parameters that are written to are copied.

Copies of all frozen parameters would double the memory of the model, and few models write to any.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from .folded import walk
from .intercept import op_name

SET_DATA: Any = getattr(Tensor.data, "__set__")  # noqa: B009
_RENORMING = (functional.embedding, functional.embedding_bag)  # max_norm, the fourth argument, writes into the table
_AUGMENTED = frozenset(
    ["iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "iand", "ior", "ixor", "ilshift", "irshift"]
)


class Watch(TorchFunctionMode):
    """Calls ``before`` with every tensor that an op is about to write into.

    Args:
        before: called with the tensor.
    """

    def __init__(self, before: Callable[[Tensor], None]) -> None:
        super().__init__()
        self._before = before

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Watches one op."""
        kwargs = kwargs or {}
        for tensor in _targets(func, args, kwargs):
            self._before(tensor)
        return func(*args, **kwargs)


def _targets(func: Any, args: Any, kwargs: Any) -> Iterator[Tensor]:
    if func in _RENORMING and (kwargs.get("max_norm") or (len(args) > 3 and args[3])):
        yield from walk((args, kwargs))
    elif writes(func) or kwargs.get("inplace"):
        yield from walk(args[:1])
    if "out" in kwargs:
        yield from walk(kwargs["out"])


@lru_cache(maxsize=4096)
def writes(func: Any) -> bool:
    """Returns whether an op writes into its first argument: ``add_``, ``x += y``, ``x[i] = y``, ``x.data = y``."""
    name = op_name(func)
    if name.startswith("__"):
        return name == "__setitem__" or func == SET_DATA or name[2:-2] in _AUGMENTED  # torch wraps the setter anew
    return name.endswith("_")
