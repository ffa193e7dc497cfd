"""Members folded into the batch, without functorch: the model runs once, on tensors that hold every member.

Such a tensor has the members in front and is marked; to the model it has the shape of one member's. Perturbed ops and
attention fold the members into their batch, elementwise ops take them as they are, and every other op goes through its
own batching rule, or, where it has none, member by member. Branching on numbers is refused.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from .._ops.attention import attention, grouping
from .._ops.linear import linear
from .._ops.per_member import Call
from ..filters import NamedParameter
from ..noise.perturbation import Delta
from .intercept import METADATA, Interceptor, Perturbed, op_name, perturbed
from .rules import RULES
from .shared import SharedProducts
from .task import Task
from .tree import concatenated, join, map_tensors
from .warn import WarnOnce

_NAMES = ("add", "sub", "mul", "div", "maximum", "minimum", "relu", "tanh", "sigmoid", "exp", "log", "neg", "abs",
          "pow", "sqrt", "rsqrt", "square", "sin", "cos", "erf", "clamp", "where", "__add__", "__radd__", "__sub__",
          "__mul__", "__rmul__", "__truediv__", "__pow__", "__neg__", "to", "float", "detach", "contiguous", "clone",
          "type_as", "logical_not", "eq", "ne", "lt", "le", "gt", "ge")  # fmt: skip
_ELEMENTWISE: frozenset[Any] = frozenset(
    [getattr(owner, name) for owner in (torch, Tensor) for name in _NAMES if hasattr(owner, name)]
    + [
        functional.relu,
        functional.gelu,
        functional.silu,
        functional.elu,
        functional.leaky_relu,
        functional.softplus,
        functional.sigmoid,
        functional.tanh,
        functional.mish,
        functional.hardtanh,
    ]
)
_NUMBERS: frozenset[Any] = frozenset(
    [getattr(Tensor, name) for name in ("item", "__bool__", "__float__", "__int__", "tolist", "__index__")]
)


class FoldError(RuntimeError):
    """The model did something that all members can not do at once."""


def is_folded(value: object) -> bool:
    """Says whether a tensor holds every member."""
    return isinstance(value, Tensor) and getattr(value, "_torcheggroll_folded", False)


def mark(value: Tensor) -> Tensor:
    """Says that a tensor ``(members, ...)`` holds every member."""
    value._torcheggroll_folded = True  # type: ignore[attr-defined]
    return value


class Folder(Interceptor):
    """An interceptor whose perturbations, and the tensors that come of them, have all members in front."""

    def __init__(self, parameters: Sequence[Perturbed], members: int, warn: WarnOnce, products: SharedProducts) -> None:
        super().__init__(parameters, RULES, {}, warn)
        self.members = members
        self._products = products

    def apply(self, call: Call, x: Tensor, *tensors: Tensor | None) -> Tensor:
        """Evaluates an op of the library for all members."""
        shared, options = not is_folded(x), call.options
        if shared and call.op is linear:
            weight, bias, left, *_ = tensors
            if weight is not None and left is not None:  # a parameter, which stays; others may live for this op alone
                options = {**options, "base": self._products.linear(x, weight, bias)}
        return mark(call.op(x, shared, *tensors, **options))

    def dims(self, x: Tensor) -> int:
        """Counts the dimensions that ``x`` has for the model."""
        return x.dim() - is_folded(x)

    def like(self, source: Tensor, view: Tensor) -> Tensor:
        """Lets a view of ``source`` count as what ``source`` counts as."""
        return mark(view) if is_folded(source) else view

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Intercepts one op."""
        kwargs = kwargs or {}
        tensors = _tensors(args, kwargs)
        folded = any(is_folded(t) for t in tensors)
        if func in METADATA:
            return func(*[t[0] if is_folded(t) else t for t in args], **kwargs)
        uses = self._uses(args, kwargs)
        if func is functional.scaled_dot_product_attention and (folded or uses):
            out = self._attention(*args, **kwargs)
        elif uses:
            out = self._intercepted(func, args, kwargs)
        elif func is functional.multi_head_attention_forward:
            out = RULES[func](self, *args, **kwargs)
        elif not folded:
            return func(*args, **kwargs)
        elif func in _NUMBERS:
            raise FoldError(f"{op_name(func)} asks for one number where every member has its own")
        elif func in _ELEMENTWISE:
            dims = max(t.dim() - is_folded(t) for t in tensors)
            out = self._marked(func(*[_aligned(v, dims) for v in args], **kwargs))
        else:
            out = self._mapped(func, args, kwargs, {})
        if isinstance(out, Tensor):
            self.largest = max(self.largest, out.numel() * out.element_size() // self.members)
        return out

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Any:
        sdpa = functional.scaled_dot_product_attention
        q, k, v, mask = (self.whole(sdpa, t) for t in (query, key, value, attn_mask))
        if dropout_p:
            named = {"attn_mask": mask, "is_causal": is_causal, "scale": scale, "dropout_p": dropout_p}
            return self._mapped(sdpa, (q, k, v), named | grouping(enable_gqa), {})
        q, k, v = (t if is_folded(t) else t.expand(self.members, *t.shape) for t in (q, k, v))
        return mark(attention(q, k, v, mask, not is_folded(mask), is_causal, scale, enable_gqa))

    def whole(self, func: Any, value: Any) -> Any:
        """Returns every member's parameter formed in full for ``func``, or ``value`` where it is none."""
        known = self.find(value)
        if known is None:
            return value
        if known.delta.left is not None:
            self.warn(func, known.name)
        return mark(known.full())

    def materialised(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Runs ``func`` with each member's parameters formed in full."""
        known = [t for t in _tensors(args, kwargs) if self.find(t) is not None]
        return self._mapped(func, args, kwargs, {id(t): self.whole(func, t) for t in known})

    def _mapped(self, func: Any, args: Any, kwargs: Any, instead: dict[int, Tensor]) -> Any:
        """Runs an op by its batching rule, or member by member."""

        def change(tree: Any, function: Callable[[Tensor], Tensor]) -> Any:
            if isinstance(tree, tuple | list):
                kind: Any = type(cast("object", tree))
                return kind(change(v, function) for v in cast("list[Any]", tree))
            tree = instead.get(id(tree), tree)
            return function(tree) if is_folded(tree) else tree

        found: list[Tensor] = []

        def take(tensor: Tensor) -> Tensor:
            found.append(tensor)
            return tensor

        change([*args, *kwargs.values()], take)

        def call(own: Sequence[Tensor]) -> Any:
            given = iter(own)
            return func(
                *[change(v, lambda _: next(given)) for v in args],
                **{name: change(v, lambda _: next(given)) for name, v in kwargs.items()},
            )

        try:
            out = torch.func.vmap(lambda *own: call(cast("tuple[Tensor, ...]", own)))(*found)
        except RuntimeError:
            each = [call([t[i] for t in found]) for i in range(self.members)]
            out = join(torch.stack, each)
        return self._marked(out)

    def _marked(self, out: Any) -> Any:
        map_tensors(mark, out)
        return out


def _aligned(value: Any, dims: int) -> Any:
    """Returns a folded tensor of fewer dimensions those that broadcasting would add, behind the members."""
    if not is_folded(value) or value.dim() == dims + 1:
        return value
    return value.view(value.shape[0], *[1] * (dims + 1 - value.dim()), *value.shape[1:])


def _tensors(args: Any, kwargs: Any) -> list[Tensor]:
    flat: list[Any] = [*args, *kwargs.values()]
    nested = [cast("list[Any]", v) if isinstance(v, tuple | list) else [v] for v in flat]
    return [t for values in nested for t in values if isinstance(t, Tensor)]


class Fold:
    """Evaluates the members of a chunk as one batch; base products that all members share last as long as it does.

    Args:
        parameters: the evolved ones.
        warn: told of ops without a rule.
    """

    def __init__(self, parameters: Sequence[NamedParameter], warn: WarnOnce) -> None:
        self._parameters = parameters
        self._warn = warn
        self._products = SharedProducts()
        self.largest = 0  # bytes of a member's largest tensor

    def run(self, deltas: Sequence[Delta], task: Task) -> Any:
        """Returns the results of a chunk, members in front; the loss is evaluated under vmap."""
        assert task.forward is not None
        named = perturbed(self._parameters, deltas)
        members = deltas[0].members
        with Folder(named, members, self._warn, self._products) as fold:
            outputs = task.forward([mark(value.view_as(value)) for value in task.data])
        self.largest = max(self.largest, fold.largest)
        outputs = map_tensors(
            lambda t: t.view_as(t) if is_folded(t) else t.unsqueeze(0).expand(members, *t.shape), outputs
        )
        return outputs if task.finish is None else torch.func.vmap(task.finish)(outputs, task.data)

    def join(self, chunks: list[Any]) -> Any:
        """Joins the results of chunks."""
        return concatenated(chunks)
