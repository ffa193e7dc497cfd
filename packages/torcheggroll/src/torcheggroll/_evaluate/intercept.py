"""Intercepts every use of a perturbed parameter, wherever in the model it happens.

A parameter is recognised by identity, not by the module that owns it, so ``F.linear(x, w)``, tied weights, the packed
projection of attention and bare parameters are all covered. An op of the library receives the factors; any other op
receives the parameter, formed for that member.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .._ops.layer import Source
from .._ops.per_member import Call, PerMember
from ..filters import NamedParameter
from ..noise.perturbation import Delta
from .folded import rebuilt, walk
from .warn import WarnOnce


class Perturbed(NamedTuple):
    """A parameter, or a view of one, and how a member's differs from it."""

    name: str
    value: Tensor
    delta: Delta

    def full(self) -> Tensor:
        """Returns this member's parameter itself, in the parameter's dtype."""
        left, right, dense = self.delta
        if left is not None and right is not None:
            dense = formed(left, right, self.value.shape)
        assert dense is not None
        return (self.value.to(dense.dtype) + dense).to(self.value.dtype)

    @property
    def stacked(self) -> bool:
        """Returns whether the parameter ``(E, m, n)`` has factors for each of its matrices."""
        return stacked(self.delta.left, self.delta.right, self.value.shape)

    def at(self, index: int) -> "Perturbed":
        """Returns one of the first dimension's entries: a matrix of a stack, or a row."""
        left, right, dense = self.delta
        value = self.value.detach()[index]
        if left is not None and right is not None:
            if self.stacked:
                return Perturbed(self.name, value, Delta(left.select(-3, index), right.select(-3, index), None))
            dense = formed(left[..., index : index + 1], right, value.shape)
        else:
            assert dense is not None
            dense = dense.select(dense.dim() - self.value.dim(), index)
        return Perturbed(self.name, value, Delta(None, None, dense))

    def transposed(self, value: Tensor) -> "Perturbed":
        """Returns the transposed matrix, or each of a stack: (A Bᵀ)ᵀ = B Aᵀ."""
        left, right, dense = self.delta
        return Perturbed(self.name, value, Delta(right, left, None if dense is None else dense.transpose(-1, -2)))

    def rows(self, value: Tensor, first: int) -> "Perturbed":
        """Returns some of the first dimension's entries: columns of Aᵀ, or of the dense perturbation."""
        left, right, dense = self.delta
        at = slice(first, first + len(value))
        return Perturbed(
            self.name,
            value,
            Delta(
                None if left is None else left[..., at],
                right,
                None if dense is None else dense.narrow(dense.dim() - self.value.dim(), first, len(value)),
            ),
        )


def perturbed(parameters: Sequence[NamedParameter], deltas: Sequence[Delta]) -> list[Perturbed]:
    """Pairs each parameter with its perturbation."""
    return [Perturbed(p.name, p.value, delta) for p, delta in zip(parameters, deltas, strict=True)]


def stacked(left: Tensor | None, right: Tensor | None, size: torch.Size) -> bool:
    """Returns whether factors are those of each matrix of a stack, and not of one matrix for the whole parameter."""
    return left is not None and right is not None and left.shape[-1] * right.shape[-1] < size.numel()


def formed(left: Tensor, right: Tensor, size: torch.Size) -> Tensor:
    """Multiplies the factors out, with the members in front where the factors have them."""
    wide = torch.promote_types(left.dtype, torch.float32)
    lead = left.shape[: -3 if stacked(left, right, size) else -2]
    return (left.transpose(-1, -2).to(wide) @ right.to(wide)).reshape(*lead, *size)


Rule = Callable[..., Any]
METADATA: frozenset[Any] = frozenset(
    [
        getattr(Tensor, name).__get__
        for name in ("shape", "dtype", "device", "ndim", "layout", "requires_grad", "is_leaf", "is_cuda", "is_cpu",
                     "is_sparse", "is_nested", "is_quantized", "is_meta", "grad", "is_mps", "is_xpu", "grad_fn",
                     "itemsize", "names", "_version", "is_vulkan")
        if hasattr(getattr(Tensor, name, None), "__get__")
    ]
    + [
        getattr(Tensor, name)
        for name in ("size", "dim", "numel", "stride", "is_contiguous", "is_floating_point",
                     "is_complex", "storage_offset", "element_size", "get_device", "__len__",
                     "nelement", "ndimension", "is_pinned", "data_ptr", "untyped_storage", "is_set_to")
    ]
    + [torch.is_floating_point, torch.is_complex, torch.numel]
)  # fmt: skip


class Interceptor(TorchFunctionMode):
    """Hands each op that uses a perturbed parameter to its rule.

    Args:
        parameters: what this member's parameters are.
        rules: op to rule; a rule gets the interceptor and the op's arguments, and gives NotImplemented to decline.
        always: ops whose rule applies whatever the arguments.
        warn: called for ops without a rule.
    """

    def __init__(
        self,
        parameters: Iterable[Perturbed],
        rules: dict[Any, Rule],
        always: dict[Any, Rule],
        warn: WarnOnce,
    ) -> None:
        super().__init__()
        self._known = {id(p.value): p for p in parameters}
        self._devices = {p.value.device.type for p in self._known.values()}
        self._rules = rules
        self._always = always
        self._warn = warn
        self.largest = 0  # bytes of the largest tensor that an op gave
        self.used: set[str] = set()  # names of parameters that an op was seen to use
        self._func: Any = None

    @property
    def at(self) -> str:
        """The op that came last."""
        return "" if self._func is None else op_name(self._func)

    def apply(self, call: Call, x: Tensor, *tensors: Tensor | None) -> Tensor:
        """Evaluates an op of the library for the current member; under vmap, for all members."""
        return PerMember.apply(call, x, *tensors)  # type: ignore[no-any-return]

    def source(
        self, delta: Delta, x: Tensor, weight: Tensor, bias: Tensor | None, bias_delta: Tensor | None
    ) -> Source | None:
        """Returns what the kernel of a linear layer draws the factors from itself, if it is to do so."""
        return None

    def dims(self, x: Tensor) -> int:
        """Counts the dimensions that ``x`` has for the model."""
        return x.dim()

    def like(self, source: Tensor, view: Tensor) -> Tensor:
        """Lets a view of ``source`` count as what ``source`` counts as."""
        return view

    def find(self, value: object) -> Perturbed | None:
        """Looks a parameter, or a view of one, up."""
        return self._known.get(id(value))

    def remember(self, view: Perturbed) -> Tensor:
        """Registers a view; its tensor is kept, so that its identity is not reused."""
        self._known[id(view.value)] = view
        return view.value

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Intercepts one op."""
        self._func = func
        out = self.evaluated(func, args, kwargs or {})
        if isinstance(out, Tensor):
            self.largest = max(self.largest, self.size(out))
        return out

    def size(self, out: Tensor) -> int:
        """Returns the bytes of one member's share of a result."""
        return out.numel() * out.element_size()

    def evaluated(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Evaluates one op for the current member."""
        always = self._always.get(func)
        if always is not None:
            return always(self, *args, **kwargs)
        if func in METADATA or not self._uses(walk((args, kwargs))):
            return func(*args, **kwargs)
        return self._intercepted(func, args, kwargs)

    def _uses(self, tensors: Iterable[Tensor]) -> bool:
        found = [known.name for known in (self._known.get(id(t)) for t in tensors) if known is not None]
        self.used.update(found)
        return bool(found)

    def _intercepted(self, func: Any, args: Any, kwargs: Any) -> Any:
        rule = None if self._autocast() else self._rules.get(func)
        if rule is not None:
            out = rule(self, *args, **kwargs)
            if out is not NotImplemented:
                return out
        return self.materialised(func, args, kwargs)

    def _autocast(self) -> bool:
        """Returns whether torch rounds what ops are given: a member's weights then, and not its factors."""
        return any(torch.is_autocast_enabled(kind) for kind in self._devices)

    def materialised(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Calls ``func`` with this member's parameters formed in full, and says so once per op."""
        mine, named = rebuilt((args, kwargs), lambda t: self.whole(func, t))
        return func(*mine, **named)

    def whole(self, func: Any, value: Any) -> Any:
        """Returns a parameter, formed for this member, for ``func``; any other ``value`` unchanged."""
        known = self.find(value)
        if known is None:
            return value
        self.used.add(known.name)
        if known.delta.left is not None:
            self.warn(func, known.name)
        return known.full()

    def warn(self, func: Any, parameter: str) -> None:
        """Says once that an op has no rule."""
        self._warn(
            op_name(func),
            f"torcheggroll has no factored rule for {op_name(func)}, which uses {parameter!r}: the parameter is "
            "materialised there, for each member; results are the same, memory and time grow",
        )


def op_name(func: Any) -> str:
    """Names an op for people: ``einsum``, ``mul``, ``T``."""
    name = getattr(func, "__name__", str(func))
    owner = getattr(func, "__self__", None)
    return str(getattr(owner, "__name__", name)) if name == "__get__" else name
