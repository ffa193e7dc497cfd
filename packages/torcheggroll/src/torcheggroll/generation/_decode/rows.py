"""Members as rows of an ordinary batch: the model runs as it is, and only ops on parameters know the members.

    batch of M members with b rows each: rows m·b to (m + 1)·b - 1 are member m's        (1)

Everything between two parameters treats rows alike, caches and masks included, and runs untouched. A tensor that comes
of the batch is tagged with the owners of its rows: in the order of (1), along the first dimension or another one where
they were moved to, or a list of members where rows were picked, as mixtures of experts do. What comes of parameters
alone has the members in front. An op that would lose the owners leaves none, and a parameter that meets such rows
refuses them.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional

from ..._evaluate.folded import FoldError
from ..._evaluate.intercept import METADATA, Interceptor, Perturbed, op_name
from ..._evaluate.rules import RULES, embedding_rule, matmul_rule
from ..._evaluate.stack_rules import STACK_RULES, are_places, item_rule
from ..._evaluate.warn import WarnOnce
from ..._ops.linear import linear
from ..._ops.per_member import Call


class Along(NamedTuple):
    """Rows in order, along a later dimension than the first."""

    dim: int


Owner = Tensor | Along | Literal["ordered", "moved", "lost"] | None  # None: the same for all members
_TAG = "_torcheggroll_owner"
_MEMBERS = "_torcheggroll_per_member"


def owner_of(value: object) -> Owner:
    """Returns whose the rows of a tensor are."""
    return getattr(value, _TAG, None)


def tag(value: Tensor, owner: Owner) -> Tensor:
    """Says whose the rows of a tensor are."""
    setattr(value, _TAG, owner)
    return value


def per_member(value: object) -> bool:
    """Returns whether a tensor has the members in front, and is the same for all rows of one."""
    return isinstance(value, Tensor) and getattr(value, _MEMBERS, False)


def _of_members(value: Tensor) -> Tensor:
    setattr(value, _MEMBERS, True)
    return value


class Rows(Interceptor):
    """An interceptor for a batch that holds the rows of every member.

    Args:
        parameters: what the members' parameters are, members in front of every perturbation.
        members: M.
        rows: of the batch, M·b.
        warn: called for ops without a rule.
    """

    def __init__(self, parameters: Sequence[Perturbed], members: int, rows: int, warn: WarnOnce) -> None:
        super().__init__(parameters, _RULES, {}, warn)
        self.members = members
        self.rows = rows
        self._full: dict[int, tuple[Tensor, Tensor]] = {}  # a parameter in full, beside what it was made of
        self._experts: dict[tuple[int, int], Perturbed] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Intercepts one op."""
        kwargs = kwargs or {}
        if func in METADATA:
            return func(*[v[0] if per_member(v) else v for v in args], **kwargs)
        tensors = _tensors(args, kwargs)
        if self._uses(tensors):
            return self._intercepted(func, args, kwargs)
        if any(per_member(t) for t in tensors):
            return self._mixed(func, args, kwargs, tensors)
        owners: list[tuple[Tensor, Owner]] = [(t, o) for t in tensors if (o := owner_of(t)) is not None]
        out = func(*args, **kwargs)
        if owners:
            self._carry(func, args, kwargs, owners, out)
        return out

    def _carry(self, func: Any, args: Any, kwargs: Any, owners: Sequence[tuple[Tensor, Owner]], out: Any) -> None:
        """Tags the results of ops on tagged tensors."""
        owner = self._owner_after(func, args, kwargs, owners)
        for tensor in (out,) if isinstance(out, Tensor) else cast("Any", out) if isinstance(out, tuple | list) else ():
            if isinstance(tensor, Tensor):
                tag(tensor, owner if owner == "moved" or self._fits(tensor, owner) else "lost")

    def _fits(self, tensor: Tensor, owner: Owner) -> bool:
        if isinstance(owner, Tensor):
            return tensor.dim() > 0 and tensor.shape[0] == len(owner)
        if isinstance(owner, Along):
            return tensor.dim() > owner.dim and tensor.shape[owner.dim] % self.rows == 0
        return owner == "ordered" and tensor.dim() > 0 and tensor.shape[0] % self.rows == 0

    def _owner_after(self, func: Any, args: Any, kwargs: Any, owners: Sequence[tuple[Tensor, Owner]]) -> Owner:
        move = _MOVES.get(func)
        along = {(owner, t.dim()) for t, owner in owners if isinstance(owner, Along)}
        if along and move not in (_permuted, _transposed, _taken_apart, _taken):
            alike = func in _ELEMENTWISE and len(along) == 1 == len({owner for _, owner in owners if owner})
            return along.pop()[0] if alike else "moved"
        if move is not None:
            return move(self, args, kwargs)
        written = owner_of(args[0]) if func in _IN_PLACE else None
        if written is not None:
            return written
        found = [owner for _, owner in owners]
        if all(isinstance(owner, str) for owner in found):
            rows = {t.shape[0] for t, owner in owners if owner == "ordered"}
            moved = any(owner == "moved" and t.dim() and t.shape[0] in rows for t, owner in owners)
            return "moved" if moved else "ordered" if rows else owners[0][1]
        picked = [owner for owner in found if isinstance(owner, Tensor)]
        same = all(owner is picked[0] or torch.equal(owner, picked[0]) for owner in picked)
        return picked[0] if same and "ordered" not in found else "lost"

    def owners(self, value: Tensor) -> Tensor:
        """Returns the member of each row, ``(rows,)`` int64, or refuses rows that nobody owns."""
        owner = owner_of(value)
        if isinstance(owner, Tensor):
            return owner
        if owner != "ordered":
            raise FoldError("the rows of the batch were put in another order before they met a parameter")
        each = len(value) // self.members
        return torch.arange(self.members, device=value.device).repeat_interleave(each)

    def apply(self, call: Call, x: Tensor, *tensors: Tensor | None) -> Tensor:
        """Evaluates an op of the library for the rows of all members."""
        if per_member(x):
            return _of_members(call.op(x, False, *tensors, **call.options))
        owner = owner_of(x)
        if owner is None:
            return _of_members(call.op(x, True, *tensors, **call.options))
        if isinstance(owner, Tensor):
            return self._picked(call, x, owner, *tensors)
        self._check_ordered(x)
        out = call.op(self._unfolded(x), False, *tensors, **call.options)
        self.largest = max(self.largest, out.numel() * out.element_size())
        return tag(out.flatten(0, 1), "ordered")

    def _check_ordered(self, x: Tensor) -> None:
        if owner_of(x) != "ordered" or x.shape[0] % self.rows:
            raise FoldError("the rows of the batch were put in another order before they met a parameter")

    def _unfolded(self, x: Tensor) -> Tensor:
        return x.reshape(self.members, x.shape[0] // self.members, *x.shape[1:])

    def _picked(self, call: Call, x: Tensor, owner: Tensor, *tensors: Tensor | None) -> Tensor:
        """Evaluates a linear layer on selected rows, each with the factors of its owner."""
        if call.op is not linear or x.dim() != 2:
            raise FoldError(f"{op_name(call.op)} met rows that were picked from the batch")
        weight, bias, left, right, shift = tensors
        assert weight is not None
        out = functional.linear(x, weight, bias)
        if left is not None and right is not None:
            thin = torch.einsum("sn,srn->sr", x.to(right.dtype), right[owner])
            out = (out.to(left.dtype) + torch.einsum("sr,srm->sm", thin, left[owner])).to(out.dtype)
        if shift is not None:
            out = (out.to(shift.dtype) + shift[owner]).to(out.dtype)
        return tag(out, owner)

    def whole(self, func: Any, value: Any) -> Any:
        """Returns a parameter, formed for every member, for ``func``; any other ``value`` unchanged."""
        if isinstance(value, tuple | list):
            raise FoldError(f"{op_name(func)} takes parameters in a list")
        known = self.find(value)
        if known is None:
            return value
        if known.delta.left is not None:
            self.warn(func, known.name)
            return _of_members(known.full())
        kept = self._full.get(id(value))
        if kept is None:
            kept = self._full[id(value)] = (known.value, _of_members(known.full()))
        return kept[1]

    def materialised(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Runs ``func`` with each member's parameters formed in full."""
        args = [self.whole(func, v) for v in args]
        kwargs = {name: self.whole(func, v) for name, v in kwargs.items()}
        return self._mixed(func, args, kwargs, _tensors(args, kwargs))

    def remember_expert(self, known: Perturbed, e: int) -> Tensor:
        """Knows the matrix of one expert from now on, made once."""
        key = id(known.value), e
        if key not in self._experts:
            self._experts[key] = known.at(e)
        return self.remember(self._experts[key])

    def _mixed(self, func: Any, args: Any, kwargs: Any, tensors: list[Tensor]) -> Any:
        """Runs an op on tensors of which some have the members in front."""
        tagged = [t for t in tensors if owner_of(t) is not None]
        if func in _ELEMENTWISE:
            return self._elementwise(func, args, kwargs, tagged)
        if tagged:
            return self._as_batch(func, args, kwargs)
        inside = [t for t in tensors if per_member(t)]

        def call(*own: Tensor) -> Any:
            given = iter(own)
            return func(
                *[next(given) if per_member(v) else v for v in args],
                **{name: next(given) if per_member(v) else v for name, v in kwargs.items()},
            )

        out = torch.func.vmap(call)(*inside)
        for tensor in (out,) if isinstance(out, Tensor) else out:
            _of_members(tensor)
        return out

    def _as_batch(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Runs an op on the batch and on parameters that were expanded to its rows: each row takes its member's."""

        def rows_of(value: Any) -> Any:
            if isinstance(value, tuple | list):
                return [rows_of(v) for v in cast("list[Any]", value)]
            if not per_member(value):
                return value
            if value.dim() < 2 or value.shape[1] != self.rows:
                raise FoldError(f"{op_name(func)} mixes parameters with the batch in a way that has no rule")
            return tag(self._diagonal(value).flatten(0, 1), "ordered")

        return self.__torch_function__(
            func, (), [rows_of(v) for v in args], {name: rows_of(v) for name, v in kwargs.items()}
        )

    def _diagonal(self, value: Tensor) -> Tensor:
        """Returns each member's own rows of what was made for the rows of all."""
        at = torch.arange(self.members, device=value.device)
        return value.reshape(self.members, self.members, -1, *value.shape[2:])[at, at]

    def _elementwise(self, func: Any, args: Any, kwargs: Any, tagged: list[Tensor]) -> Tensor:
        if not tagged:
            dims = max(v.dim() - per_member(v) for v in args if isinstance(v, Tensor))
            return _of_members(func(*[_aligned(v, dims) if per_member(v) else v for v in args], **kwargs))
        batch = max(tagged, key=lambda t: t.dim())
        dims = max(v.dim() - per_member(v) for v in args if isinstance(v, Tensor))
        if any(isinstance(v, Tensor) for v in kwargs.values()) or batch.dim() != dims:
            raise FoldError(f"{op_name(func)} mixes parameters with the batch in a way that has no rule")
        owner = owner_of(batch)
        if isinstance(owner, Tensor):
            if any(owner_of(t) is not owner for t in tagged):
                raise FoldError(f"{op_name(func)} mixes rows of different owners")
            given = [_aligned(v, dims)[owner, 0] if per_member(v) else v for v in args]
            return tag(func(*given, **kwargs), owner)
        for tensor in tagged:
            self._check_ordered(tensor)
        given = [self._member_view(v, dims, batch) for v in args]
        return tag(func(*given, **kwargs).flatten(0, 1), "ordered")

    def _member_view(self, value: Any, dims: int, batch: Tensor) -> Any:
        """Returns a tensor with the members as a separate dimension."""
        if not isinstance(value, Tensor):
            return value
        if owner_of(value) is not None:
            if value.dim() != dims:
                raise FoldError("a part of the batch is broadcast along other rows")
            return self._unfolded(value)
        if not per_member(value):
            if value.dim() < dims or value.shape[0] == 1:
                return value
            if value.shape[0] == batch.shape[0]:
                return self._unfolded(value)
            raise FoldError("a tensor that all members share has another number of rows than the batch")
        value = _aligned(value, dims)
        if value.shape[1] == 1:
            return value
        return self._diagonal(value)


def _aligned(value: Tensor, dims: int) -> Tensor:
    return value.reshape(value.shape[0], *[1] * (dims + 1 - value.dim()), *value.shape[1:])


def _tensors(args: Any, kwargs: Any) -> list[Tensor]:
    flat: list[Any] = [*args, *kwargs.values()]
    nested = [cast("list[Any]", v) if isinstance(v, tuple | list) else [v] for v in flat]
    return [t for values in nested for t in values if isinstance(t, Tensor)]


def _known(owner: Owner) -> bool:
    return isinstance(owner, Tensor) or owner == "ordered"


def _taken(rows: Rows, args: Any, kwargs: Any) -> Owner:
    """Follows ``x[index]``: the first index may pick rows."""
    x, index = args
    owner = owner_of(x)
    first = cast("Any", cast("tuple[object, ...]", index)[0] if isinstance(index, tuple) and index else index)
    if owner is None:
        return "lost"
    if isinstance(owner, Along):
        return _along(owner.dim - 1) if isinstance(index, int) else "lost"
    if isinstance(first, slice):
        whole = first == slice(None) or first.indices(len(x)) == (0, len(x), 1)
        return owner if whole or not _known(owner) else rows.owners(x)[first]
    if first is Ellipsis:
        return owner if isinstance(index, tuple) and len(cast("Any", index)) <= x.dim() else "lost"
    if isinstance(first, Tensor) and first.dim() == 1 and _known(owner):
        return rows.owners(x)[first]
    return "lost"


def _picked_rows(rows: Rows, args: Any, kwargs: Any) -> Owner:
    """Follows ``index_select``."""
    x, dim, index = (*args, *kwargs.values())[:3]
    if dim % max(x.dim(), 1):
        return owner_of(x)
    return rows.owners(x)[index] if _known(owner_of(x)) else "moved"


def _inserted(rows: Rows, args: Any, kwargs: Any) -> Owner:
    """Follows an op that gives a new dimension."""
    return _kept_unless_first(rows, args, kwargs, 1)


def _kept_unless_first(rows: Rows, args: Any, kwargs: Any, more: int = 0) -> Owner:
    """Follows an op with a dimension, or several: owners stay where it is not the first one."""
    x = max(args[0], key=torch.Tensor.dim) if isinstance(args[0], tuple | list) else args[0]
    tensors = [t for t in _tensors(args[:1], {}) if owner_of(t) is not None]
    if not tensors:
        return "lost"
    given: list[object] = [*args[1:], kwargs.get("dim", 0 if len(args) < 2 else None), kwargs.get("dims")]
    listed = [cast("list[object]", v) if isinstance(v, tuple | list) else [v] for v in given]
    dims = [d for several in listed for d in several if isinstance(d, int)]
    return "moved" if any(d % max(x.dim() + more, 1) == 0 for d in dims) else owner_of(tensors[0])


def _permuted(rows: Rows, args: Any, kwargs: Any) -> Owner:
    dims = args[1] if len(args) == 2 and isinstance(args[1], tuple | list) else args[1:] or kwargs["dims"]
    return _placed(args[0], [int(d) % args[0].dim() for d in dims])


def _transposed(rows: Rows, args: Any, kwargs: Any) -> Owner:
    """Follows an op that swaps two dimensions."""
    x = args[0]
    first, second = (int(d) % x.dim() for d in (*args[1:], *kwargs.values()))
    dims = list(range(x.dim()))
    dims[first], dims[second] = second, first
    return _placed(x, dims)


def _placed(x: Tensor, dims: Sequence[int]) -> Owner:
    """Returns the owners behind a permutation to ``dims``: where rows in order went."""
    owner = owner_of(x)
    if owner == "ordered" or isinstance(owner, Along):
        return _along(dims.index(owner.dim if isinstance(owner, Along) else 0))
    return owner if dims[0] == 0 else "moved"


def _along(dim: int) -> Owner:
    return "ordered" if dim == 0 else "lost" if dim < 0 else Along(dim)


def _taken_apart(rows: Rows, args: Any, kwargs: Any) -> Owner:
    """Follows ``unbind`` and ``select``."""
    x, dim = args[0], int((*args[1:2], kwargs.get("dim", 0))[0]) % args[0].dim()
    owner = owner_of(x)
    if isinstance(owner, Along):
        return "lost" if dim == owner.dim else _along(owner.dim - (dim < owner.dim))
    return "moved" if dim == 0 else owner


def _moved(rows: Rows, args: Any, kwargs: Any) -> Owner:
    return "moved"


def _repeated(rows: Rows, args: Any, kwargs: Any) -> Owner:
    sizes = args[1] if isinstance(args[1], tuple | list) else args[1:]
    return owner_of(args[0]) if len(sizes) == args[0].dim() and sizes[0] == 1 else "lost"


def _spread(rows: Rows, args: Any, kwargs: Any) -> Owner:
    """Follows ``expand``: owners stay where no dimension comes in front."""
    sizes = args[1] if isinstance(args[1], tuple | list | torch.Size) else args[1:]
    return owner_of(args[0]) if len(sizes) == args[0].dim() else "lost"


def _einsum(rows: Rows, args: Any, kwargs: Any) -> Owner:
    inputs, _, output = str(args[0]).replace(" ", "").partition("->")
    operands = args[1] if isinstance(args[1], tuple | list) else args[1:]
    named = [n for n, t in zip(inputs.split(","), operands, strict=False) if owner_of(t) is not None]
    first = owner_of(next(t for t in operands if owner_of(t) is not None))
    return first if output and all(n[:1] == output[:1] for n in named) else "lost"


def _multiplied(rows: Rows, args: Any, kwargs: Any) -> Owner:
    """Follows ``x @ y``: the rows are those of x, or of both where these are batches of matrices."""
    x, y = args[0], args[1] if len(args) > 1 else kwargs["other"]
    if owner_of(x) is None:
        return owner_of(y) if y.dim() > 2 and y.dim() >= x.dim() else "lost"
    return owner_of(x) if y.dim() <= x.dim() else "lost"


def _both(*names: str) -> list[Any]:
    return [getattr(owner, name) for owner in (torch, Tensor) for name in names if hasattr(owner, name)]


_ELEMENTWISE: frozenset[Any] = frozenset(
    [
        *_both("add", "sub", "mul", "div", "neg", "exp", "log", "sqrt", "rsqrt", "abs", "tanh", "sigmoid", "pow",
               "square", "maximum", "minimum", "clamp", "to", "float", "detach", "contiguous", "clone", "type_as",
               "__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__", "__truediv__", "__rtruediv__",
               "__neg__", "__pow__", "bfloat16", "half", "double"),
        functional.softplus, functional.silu, functional.relu, functional.gelu, functional.tanh, functional.sigmoid,
    ]
)  # fmt: skip

_MOVES: dict[Any, Callable[[Rows, Any, Any], Owner]] = {
    Tensor.__getitem__: _taken,
    **dict.fromkeys(_both("index_select"), _picked_rows),
    **dict.fromkeys(
        _both("movedim", "moveaxis", "flip", "roll", "cumsum", "cumprod", "sort", "argsort", "cat", "concat",
              "concatenate", "narrow", "gather", "take_along_dim", "squeeze"),
        _kept_unless_first,
    ),
    **dict.fromkeys(_both("unsqueeze", "stack"), _inserted),
    **dict.fromkeys(_both("permute"), _permuted),
    **dict.fromkeys(_both("transpose", "swapaxes", "swapdims"), _transposed),
    **dict.fromkeys(_both("select", "unbind"), _taken_apart),
    **dict.fromkeys(_both("repeat", "tile"), _repeated),
    **dict.fromkeys(_both("expand"), _spread),
    **dict.fromkeys(_both("t", "nonzero", "masked_select", "take", "vstack", "tensordot", "unique", "bincount",
                          "flatten_dense_tensors", "rot90", "flipud"), _moved),
    **dict.fromkeys([getattr(getattr(Tensor, n), "__get__") for n in ("T", "mT", "H") if n != "mT"], _moved),  # noqa: B009
    **dict.fromkeys([torch.einsum], _einsum),
    **dict.fromkeys(_both("matmul", "mm", "bmm", "mv", "__matmul__"), _multiplied),
}  # fmt: skip
_IN_PLACE: frozenset[Any] = frozenset(
    value
    for name in dir(Tensor)
    if name.endswith("_") and not name.endswith("__") and callable(value := getattr(Tensor, name))
) | {Tensor.__setitem__}


def _item_rule(intercept: Any, input: Tensor, index: Any) -> Any:
    """``w[e]``: the matrix or the bias of one expert; ``w[tokens]`` and ``w[2:5]``: rows of a matrix."""
    known = intercept.find(input)
    if known is None or input.dim() not in (2, 3):
        return NotImplemented
    if isinstance(index, int) or (isinstance(index, Tensor) and not index.dim()):
        return intercept.remember_expert(known, int(index))
    if input.dim() == 2 and are_places(index):
        places, owner = torch.where(index < 0, index + len(input), index), owner_of(index)
        return embedding_rule(intercept, places if owner is None else tag(places, owner), input)
    return item_rule(intercept, input, index) if isinstance(index, slice) else NotImplemented


def _dense_linear_rule(intercept: Any, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    """``functional.linear``, also by a matrix whose perturbation is dense."""
    found = intercept.find(weight)
    if found is None or found.delta.dense is None or weight.dim() != 2 or intercept.find(bias) is not None:
        return RULES[functional.linear](intercept, input, weight, bias)
    return _with_dense(intercept, input, functional.linear(input, weight, bias), found.delta.dense.mT)


def _dense_product_rule(intercept: Any, input: Tensor, other: Tensor) -> Any:
    """``x @ w`` by a matrix whose perturbation is dense."""
    found = intercept.find(other)
    if found is None or found.delta.dense is None or other.dim() != 2:
        return matmul_rule(intercept, input, other)
    return _with_dense(intercept, input, input @ other, found.delta.dense)


def _with_dense(intercept: Any, input: Tensor, out: Tensor, dense: Tensor) -> Tensor:
    """Adds to ``out`` each row of ``input`` times its owner's dense perturbation ``(members, in, out)``."""
    owner = intercept.owners(input)
    for member in range(intercept.members):
        at = (owner == member).nonzero()[:, 0]
        if len(at):
            out[at] += (input[at].to(dense.dtype) @ dense[member]).to(out.dtype)
    return tag(out, owner_of(input))


_PRODUCTS: tuple[Any, ...] = (torch.matmul, Tensor.matmul, Tensor.__matmul__)
_RULES: dict[Any, Any] = {
    **{func: rule for func, rule in RULES.items() if func not in STACK_RULES},  # they lose sight of rows
    functional.linear: _dense_linear_rule,
    Tensor.__getitem__: _item_rule,
    **dict.fromkeys(_PRODUCTS, _dense_product_rule),
}
