"""Members folded into the batch, without functorch: the model runs once, on tensors that hold every member.

Perturbed ops and attention fold the members into their batch, elementwise ops run unchanged, and every other op uses
its own batching rule or, without one, runs member by member. Random numbers are the same for all members. A plain
tensor that is written to becomes folded. A result that is not a tensor, such as a number or a truth value, is
returned if all members agree on it. Anything else that would mix members is refused.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from .._ops import fused_cpu, fused_cuda
from .._ops.attention import attention, grouping
from .._ops.layer import Layer, Source
from .._ops.linear import linear
from .._ops.per_member import Call
from ..filters import NamedParameter
from ..noise.perturbation import Delta
from .folded import CopyOnWrite, FoldError, aligned, hidden, is_folded, mark, rebuilt, storage_of, walk
from .intercept import METADATA, Interceptor, Perturbed, op_name, perturbed
from .loss_rules import LOSS_RULES
from .randomness import CommonRandomNumbers
from .rules import OPENED, RULES, heads
from .shared import SharedProducts
from .state import StartingPoint
from .task import Task
from .tree import concatenated, join, map_tensors, tensors_of
from .warn import WarnOnce
from .watch import SET_DATA, writes

_NAMES = ("add", "sub", "mul", "div", "maximum", "minimum", "relu", "tanh", "sigmoid", "exp", "log", "neg", "abs",
          "pow", "sqrt", "rsqrt", "square", "sin", "cos", "erf", "clamp", "where", "__add__", "__radd__", "__sub__",
          "__rsub__", "__mul__", "__rmul__", "__truediv__", "__rtruediv__", "__pow__", "__neg__", "to", "float",
          "detach", "contiguous", "clone", "type_as", "logical_not", "eq", "ne", "lt", "le", "gt", "ge", "lerp",
          "addcmul")  # fmt: skip
_IN_PLACE = ("add_", "sub_", "mul_", "div_", "copy_", "clamp_", "relu_", "tanh_", "sigmoid_", "exp_", "neg_", "sqrt_",
             "lerp_", "addcmul_", "__iadd__", "__isub__", "__imul__", "__itruediv__", "zero_", "fill_")  # fmt: skip


def _named(names: Sequence[str]) -> list[Any]:
    return [getattr(owner, name) for owner in (torch, Tensor) for name in names if hasattr(owner, name)]


_ELEMENTWISE: frozenset[Any] = frozenset(
    [
        *_named(_NAMES),
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
_ELEMENTWISE_WRITES: frozenset[Any] = frozenset(_named(_IN_PLACE))
_TURNED: dict[str, str] = {name: name[:-1] for name in ("unsqueeze_", "squeeze_", "t_", "transpose_", "swapaxes_",
                                                         "swapdims_")}  # fmt: skip
_RESIZED = frozenset(["resize_", "resize_as_", "set_", "as_strided_", "share_memory_", "requires_grad_", "rename_"])
_ADDRESSES: frozenset[Any] = frozenset(
    _named(("data_ptr", "untyped_storage", "storage", "is_set_to", "__dlpack__", "_typed_storage", "pin_memory"))
)
_IDENTITY: frozenset[Any] = frozenset([Tensor.__hash__, Tensor.is_shared])
_CONVOLUTIONS: dict[Any, tuple[int, bool]] = {
    functional.conv1d: (1, False),
    functional.conv2d: (2, False),
    functional.conv3d: (3, False),
    functional.conv_transpose1d: (1, True),
    functional.conv_transpose2d: (2, True),
    functional.conv_transpose3d: (3, True),
}
_STATISTICS: frozenset[Any] = frozenset([functional.batch_norm, functional.instance_norm])


class Folder(Interceptor):
    """An interceptor whose perturbations, and the tensors that come of them, have all members in front.

    Args:
        parameters: what the members' parameters are.
        members: how many.
        warn: called for ops without a rule.
        products: base products of what all members share.
        numbers: the random streams that all members share.
    """

    def __init__(
        self,
        parameters: Sequence[Perturbed],
        members: int,
        warn: WarnOnce,
        products: SharedProducts,
        numbers: CommonRandomNumbers,
    ) -> None:
        super().__init__(parameters, RULES, {}, warn)
        self.members = members
        self.writes = CopyOnWrite(members)
        self.note: Callable[[str, Any], None] | None = None
        self.noted = 0
        self._products = products
        self._numbers = numbers

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Intercepts one op."""
        out = super().__torch_function__(func, types, args, kwargs)
        if self.note is not None and func not in METADATA and func not in OPENED:
            known = isinstance(out, Tensor) and self.find(out) is not None
            self.note(op_name(func), None if known else rebuilt(out, self._noted))
        return out

    def _noted(self, tensor: Tensor) -> Tensor:
        return tensor[self.noted] if is_folded(tensor) else tensor

    def size(self, out: Tensor) -> int:
        """Returns the bytes of one member's share of a result."""
        return super().size(out) // self.members

    def apply(self, call: Call, x: Tensor, *tensors: Tensor | None) -> Any:
        """Evaluates an op of the library for all members; declines where what counts as a parameter is folded."""
        if any(is_folded(t) for t in tensors[: call.plain]):
            return NotImplemented
        shared, options = not is_folded(x), call.options
        if shared and call.op is linear:
            weight, bias, left, *_ = tensors
            if weight is not None and left is not None:  # a parameter, which stays; others may live for this op alone
                options = {**options, "base": self._products.linear(x, weight, bias)}
        return mark(call.op(x, shared, *tensors, **options))

    def source(
        self, delta: Delta, x: Tensor, weight: Tensor, bias: Tensor | None, bias_delta: Tensor | None
    ) -> Source | None:
        """Returns what the kernel of a linear layer draws the factors from itself: where each is read but once."""
        if delta.undrawn is None or not is_folded(x) or is_folded(weight) or is_folded(bias):
            return None
        layer = Layer(weight, bias, bias_delta=bias_delta)
        if fused_cuda.draws(layer, x, self.members):
            return delta.undrawn.take(again=True)
        return delta.undrawn.take(again=False) if fused_cpu.draws(layer, x, self.members, delta.size) else None

    def dims(self, x: Tensor) -> int:
        """Counts the dimensions that ``x`` has for the model."""
        return x.dim() - is_folded(x)

    def like(self, source: Tensor, view: Tensor) -> Tensor:
        """Lets a view of ``source`` count as what ``source`` counts as."""
        return mark(view) if is_folded(source) else view

    def evaluated(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Evaluates one op for all members."""
        tensors = list(walk((*args, kwargs)))
        if self.writes:
            for t in tensors:
                if not is_folded(t) and self.find(t) is None:
                    self.writes.follow(t)
        folded = any(is_folded(t) for t in tensors)
        if func in METADATA or func in _IDENTITY:
            if folded and func in _ADDRESSES:
                raise FoldError(f"{op_name(func)} asks where numbers lie, and every member has its own")
            return func(*[t[0] if is_folded(t) and func in METADATA else t for t in args], **kwargs)
        uses = self._uses(tensors)
        if not folded and not uses:
            if func in OPENED:
                return OPENED[func](self, *args, **kwargs)
            return func(*args, **kwargs)
        if func in _ADDRESSES:
            raise FoldError(f"{op_name(func)} asks where numbers lie, and every member has its own")
        if func is functional.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        if kwargs.get("out") is not None:
            return self._out(func, args, kwargs)
        if _writes(func, args, kwargs):
            return self._written(func, args, kwargs)
        if uses or func in OPENED:
            return self._intercepted(func, args, kwargs)
        return self._plain(func, args, kwargs, tensors)

    def _plain(self, func: Any, args: Any, kwargs: Any, tensors: list[Tensor]) -> Any:
        """Evaluates an op that uses no parameter and writes nothing."""
        shared = [(t, t._version) for t in tensors if not is_folded(t) and not t.is_inference()]
        if func in _ELEMENTWISE and (len(args) + len(kwargs) > 1 or func not in (torch.where, Tensor.where)):
            out = self._elementwise(func, args, kwargs, tensors)
        else:
            out = self._mapped(func, args, kwargs, {})
        if any(t._version != version for t, version in shared):
            raise FoldError(f"{op_name(func)} writes into a tensor that the members share")
        return out

    def _elementwise(self, func: Any, args: Any, kwargs: Any, tensors: list[Tensor]) -> Any:
        dims = max(self.dims(t) for t in tensors)
        try:
            return self._marked(
                func(*[aligned(v, dims) for v in args], **{name: aligned(v, dims) for name, v in kwargs.items()})
            )
        except (RuntimeError, TypeError):  # a memory format, or whatever else counts dimensions
            return self._mapped(func, args, kwargs, {})

    def _attention(self, *args: Any, **kwargs: Any) -> Any:
        h = heads(self, *args, **kwargs)
        if h.dropout:
            named = {"attn_mask": h.mask, "is_causal": h.causal, "scale": h.scale, "dropout_p": h.dropout}
            sdpa = functional.scaled_dot_product_attention
            return self._mapped(sdpa, h[:3], named | grouping(h.grouped), {})
        q, k, v = (t if is_folded(t) else t.expand(self.members, *t.shape) for t in h[:3])
        return mark(attention(q, k, v, h.mask, not is_folded(h.mask), h.causal, h.scale, h.grouped))

    def whole(self, func: Any, value: Any) -> Any:
        """Returns a parameter, formed for every member, for ``func``; any other ``value`` unchanged."""
        known = self.find(value)
        if known is None:
            return value
        self.used.add(known.name)
        if known.delta.left is not None:
            self.warn(func, known.name)
        return mark(known.full())

    def materialised(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Runs ``func`` with each member's parameters formed in full."""
        known = [t for t in walk((*args, kwargs)) if self.find(t) is not None]
        return self._mapped(func, args, kwargs, {id(t): self.whole(func, t) for t in known})

    def _out(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Evaluates an op that is given the tensors to write its results into."""
        given = kwargs["out"]
        results = self.evaluated(func, args, {name: v for name, v in kwargs.items() if name != "out"})
        single = isinstance(given, Tensor)
        for target, result in zip([given] if single else given, [results] if single else results, strict=True):
            if self.find(target) is not None:
                raise FoldError(f"{op_name(func)} writes into a parameter")
            if tuple(target.shape[is_folded(target) :]) == tuple(result.shape[1:]):
                self.writes.fold(target)
                target.copy_(result)
            else:
                self.writes.rebind(target, result.to(target.dtype))
        return given

    def _written(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Evaluates an op that writes into its arguments: they become folded first."""
        name = op_name(func)
        if name in _RESIZED:
            raise FoldError(f"{name} changes a tensor's storage, which the members share")
        if name in _TURNED:
            target = args[0]
            self.writes.rebind(target, self._mapped(getattr(torch, _TURNED[name]), args, kwargs, {}))
            return target
        known = [t for t in walk((*args, kwargs)) if self.find(t) is not None]
        targets = _targets(func, args, kwargs)
        if any(t is own for t in targets for own in known):
            raise FoldError(f"{name} writes into a parameter")
        instead = {id(t): self.whole(func, t) for t in known}
        if func == SET_DATA:
            new = instead.get(id(args[1]), args[1])
            self.writes.rebind(args[0], new if is_folded(new) else new.expand(self.members, *new.shape).clone())
            return None
        for target in targets:
            self.writes.fold(target)
        tensors = [t for t in walk((args[1:], kwargs)) if is_folded(t)]
        fits = not known and func in _ELEMENTWISE_WRITES and all(t.dim() <= args[0].dim() for t in tensors)
        if fits:
            dims = self.dims(args[0])
            func(args[0], *[aligned(v, dims) for v in args[1:]], **{k: aligned(v, dims) for k, v in kwargs.items()})
            return args[0]
        out = self._mapped(func, args, kwargs, instead)
        return out if func in _STATISTICS else args[0]

    def _mapped(self, func: Any, args: Any, kwargs: Any, instead: dict[int, Tensor]) -> Any:
        """Runs an op by its batching rule, or member by member."""
        args, kwargs = rebuilt((args, kwargs), lambda t: instead.get(id(t), t))
        if func in _CONVOLUTIONS:
            out = self._convolved(func, *args, **kwargs)
            if out is not None:
                return out
        found = [t for t in walk((args, kwargs)) if is_folded(t)]

        def call(own: Sequence[Tensor]) -> Any:
            given = iter(own)
            mine, named = rebuilt((args, kwargs), lambda t: next(given) if is_folded(t) else t)
            return func(*mine, **named)

        if func is Tensor.__iter__:
            return iter(self._mapped(torch.unbind, args, kwargs, {}))
        if func in _NUMBERS or any(isinstance(v, slice) and any(map(is_folded, walk(v))) for v in _index(args)):
            return self._each(func, call, found)
        silent = _writes(func, args, kwargs) and func not in _STATISTICS
        shared = [(t, t._version) for t in walk((args, kwargs)) if not is_folded(t) and not t.is_inference()]
        try:
            out = torch.func.vmap(lambda *own: (call(cast("Any", own)), own[0])[silent])(*found)
        except (RuntimeError, ValueError, TypeError, NotImplementedError, UserWarning):  # torch's word on a slow rule
            return self._each(func, call, found)
        if any(t._version != version for t, version in shared):
            raise FoldError(f"{op_name(func)} writes into a tensor that the members share")
        return self._marked(out)

    def _each(self, func: Any, call: Callable[[Sequence[Tensor]], Any], found: list[Tensor]) -> Any:
        """Runs an op member by member, each on the same random numbers."""
        stream = self._numbers.now()
        each: list[Any] = []
        for i in range(self.members):
            self._numbers.resume(stream)
            each.append(call([t[i] for t in found]))
        if each[0] is None:
            return None
        if not tensors_of(each[0]):
            if not all(_equal(each[0], other) for other in each[1:]):
                raise FoldError(f"{op_name(func)} gives something else for every member, and it is no tensor")
            return each[0]
        if any(not isinstance(v, Tensor) and not tensors_of(v) for v in _values(each[0])):
            raise FoldError(f"{op_name(func)} gives numbers beside tensors")
        source = {storage_of(t) for t in found}
        return self._marked(join(lambda own: _viewed(own, source), each))

    def _convolved(
        self, func: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **more: Any
    ) -> Tensor | None:
        """Convolves with separate filters for each member: members multiply the groups."""
        dims, turned = _CONVOLUTIONS[func]
        if not is_folded(weight) or self.dims(x) != dims + 2:
            return None
        m = self.members
        names = ("stride", "padding", "output_padding", "groups", "dilation") if turned else (
            "stride", "padding", "dilation", "groups")  # fmt: skip
        settings = {**dict(zip(names, rest, strict=False)), **more}
        groups = settings.pop("groups", 1)
        batch = (x if is_folded(x) else x.expand(m, *x.shape)).transpose(0, 1).flatten(1, 2)
        shift = None if bias is None else (bias if is_folded(bias) else bias.expand(m, *bias.shape)).flatten()
        out = func(batch, weight.flatten(0, 1), shift, groups=groups * m, **settings)
        return mark(out.unflatten(1, (m, -1)).transpose(0, 1))

    def _marked(self, out: Any) -> Any:
        map_tensors(mark, out)
        return out


_NUMBERS: frozenset[Any] = frozenset(
    _named(("item", "__bool__", "__float__", "__int__", "__index__", "__complex__", "tolist", "numpy", "__array__",
            "equal", "allclose", "is_nonzero", "__contains__", "__repr__", "__format__", "__str__"))
)  # fmt: skip


def _writes(func: Any, args: Any, kwargs: Any) -> bool:
    """Returns whether an op writes into one of its arguments."""
    return bool(_targets(func, args, kwargs)) if func in _STATISTICS else writes(func)


def _targets(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """Lists the arguments that an op writes into."""
    if func not in _STATISTICS:
        return list(walk(args[:1]))
    named = {**dict(zip(("input", "running_mean", "running_var", "weight", "bias", "training"), args, strict=False))}
    named.update(kwargs)
    flag = "training" if func is functional.batch_norm else "use_input_stats"
    default = func is not functional.batch_norm
    if not named.get(flag, named.get("training", default)):
        return []
    return [t for t in (named.get("running_mean"), named.get("running_var")) if t is not None]


def _index(args: Any) -> Any:
    """Gives what indexes a tensor, one entry per dimension."""
    at: Any = args[1] if len(args) > 1 else ()
    return cast(Any, at) if isinstance(at, tuple) else (at,)


def _values(tree: Any) -> list[Any]:
    return list(cast("list[Any]", tree)) if isinstance(tree, tuple | list) else [tree]


def _equal(a: Any, b: Any) -> bool:
    same = a == b
    return bool(same.all()) if hasattr(same, "all") else bool(same)


def _viewed(own: list[Tensor], source: set[int]) -> Tensor:
    """Stacks the members' results; views of what the members are given stay views."""
    first = own[0]
    if first.layout != torch.strided or storage_of(first) not in source:
        return torch.stack(own)
    step = own[1].storage_offset() - first.storage_offset() if len(own) > 1 else 0
    return first.as_strided((len(own), *first.shape), (step, *first.stride()), first.storage_offset())


class Fold:
    """Evaluates the members of a chunk as one batch; shared base products are kept as long as it exists.

    Args:
        parameters: the evolved ones.
        warn: called for ops without a rule.
        start: what every member starts from.
    """

    def __init__(self, parameters: Sequence[NamedParameter], warn: WarnOnce, start: StartingPoint) -> None:
        self._parameters = parameters
        self._warn = warn
        self._numbers = start.numbers
        self._products = SharedProducts()
        self.largest = 0  # bytes of a member's largest tensor
        self.used: set[str] = set()  # parameters that an op was seen to use
        self.at = ""  # the current op
        self.note: Callable[[str, Any], None] | None = None  # called with each result of the member ``noted``
        self.noted = 0

    def run(self, deltas: Sequence[Delta], task: Task) -> Any:
        """Returns the results of a chunk, members in front."""
        assert task.forward is not None
        named = perturbed(self._parameters, deltas)
        members = deltas[0].members
        fold = Folder(named, members, self._warn, self._products, self._numbers)
        fold.note, fold.noted = self.note, self.noted
        try:
            for value in task.data:
                fold.writes.keep(value)
            data = [mark(value.view_as(value)) for value in task.data]  # views, which take no memory of a chunk
            with fold:
                outputs = task.forward(data)
            outputs = map_tensors(lambda t: self._outside(t, fold), outputs)
        finally:
            self.largest = max(self.largest, fold.largest)
            self.used |= fold.used
            self.at = fold.at
            fold.writes.undo()
        self.at = ""
        return outputs if task.finish is None else self._finished(outputs, task, members)

    def _outside(self, tensor: Tensor, fold: Folder) -> Tensor:
        """Returns an output ``(members, ...)`` as a tensor that shares no storage."""
        fold.writes.follow(tensor)
        if fold.find(tensor) is not None:
            tensor = fold.whole(self._outside, tensor)
        return tensor.view_as(tensor) if is_folded(tensor) else tensor.unsqueeze(0).expand(fold.members, *tensor.shape)

    def _finished(self, outputs: Any, task: Task, members: int) -> Any:
        """Evaluates the loss under vmap, or, where it does not follow, member by member."""
        finish = task.finish
        assert finish is not None
        tensors = tensors_of(outputs)

        def one(own: list[Tensor], data: list[Any]) -> Any:
            given = iter(own)
            return finish(map_tensors(lambda _: next(given), outputs, hidden), data)

        stream = self._numbers.now()
        try:
            with Interceptor([], {}, LOSS_RULES, self._warn):
                return torch.func.vmap(one)(tensors, task.data)
        except Exception as error:
            each: list[Any] = []
            for i in range(members):
                self._numbers.resume(stream)
                each.append(one([t[i] for t in tensors], [value[i] for value in task.data]))
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
        self._warn(
            "loss", f"torcheggroll evaluates the loss for one member after the other, since under vmap it met {reason}"
        )
        if all(isinstance(value, bool | int | float) for value in each):
            return torch.tensor(each, dtype=torch.float64)
        return join(torch.stack, each)

    def join(self, chunks: Iterable[Any], members: int) -> Any:
        """Joins the results of chunks as they come."""
        return concatenated(chunks, members)
