"""Rules for weights ``(E, m, n)`` that hold a matrix for each expert, with factors for each.

    x (W_e + σE_e)ᵀ = x W_eᵀ + (σ/√r) (x B_e) A_eᵀ      a linear layer for each e

Batched products, ``einsum`` and grouped products come down to linear layers, one for each matrix, so that a member has
the bits of the same layer written out. What else is done to such a weight forms it in full.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from .._ops.embedding import embedding
from .._ops.grouped import grouped
from .._ops.linear import linear
from .._ops.per_member import Call
from .intercept import Interceptor, Perturbed, Rule

_LINEAR = Call(linear, 2, {})


def first_of(*rules: Rule) -> Rule:
    """Makes a rule that takes the first which does not decline."""

    def rule(intercept: Interceptor, *args: Any, **kwargs: Any) -> Any:
        for one in rules:
            out = one(intercept, *args, **kwargs)
            if out is not NotImplemented:
                return out
        return NotImplemented

    return rule


def each_matrix(intercept: Interceptor, x: Tensor, found: Perturbed, own: bool) -> Any:
    """Evaluates a linear layer for each matrix of a stack.

    Args:
        intercept: that met the op.
        x: ``(E, ..., n)`` where every matrix has its ``own``, else ``(..., n)``.
        found: a stack of ``(m, n)``.
        own: whether ``x`` has the matrices in front.

    Returns:
        ``(E, ..., m)``, or NotImplemented.
    """
    count, lead = len(found.value), x.dim() - intercept.dims(x)
    if own and x.shape[lead] != count:
        return NotImplemented
    rows = [intercept.like(x, part) for part in x.unbind(lead)] if own else [x] * count
    outs: list[Any] = []
    for e in range(count):
        one = found.at(e)
        outs.append(intercept.apply(_LINEAR, rows[e], one.value, None, one.delta.left, one.delta.right, None))
        if outs[-1] is NotImplemented:
            return NotImplemented
    return intercept.like(outs[0], torch.stack(outs, outs[0].dim() - intercept.dims(outs[0])))


def _stack(intercept: Interceptor, value: Any) -> Perturbed | None:
    """Looks a stack of matrices up."""
    found = intercept.find(value)
    return found if found is not None and found.stacked else None


def _turned(found: Perturbed) -> Perturbed:
    return found.transposed(found.value.mT)


def matmul_rule(intercept: Interceptor, input: Tensor, other: Tensor) -> Any:
    """``x @ w`` and ``w @ x`` for a stack w."""
    right, left = _stack(intercept, other), _stack(intercept, input)
    if right is not None and intercept.find(input) is None:
        own, lead = intercept.dims(input) > 2, input.dim() - intercept.dims(input)
        x = intercept.like(input, input.movedim(-3, lead)) if own else input
        out = each_matrix(intercept, x, _turned(right), own)
        if out is NotImplemented or not own:
            return out
        return intercept.like(out, out.movedim(out.dim() - intercept.dims(out), -3))
    if left is not None and intercept.find(other) is None and intercept.dims(other) < 4:
        dims = intercept.dims(other)
        x = other if dims == 1 else intercept.like(other, other.mT)
        out = each_matrix(intercept, x, left, dims == 3)
        return out if dims == 1 or out is NotImplemented else intercept.like(out, out.mT)
    return NotImplemented


def bmm_rule(intercept: Interceptor, input: Tensor, mat2: Tensor) -> Any:
    """``bmm(x, w)`` and ``bmm(w, x)`` for a stack w."""
    return matmul_rule(intercept, input, mat2)


def baddbmm_rule(
    intercept: Interceptor, input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Any:
    """``baddbmm(bias, x, w)`` for a stack w and a bias that is not a parameter, or a view of one already formed."""
    if beta != 1 or alpha != 1 or intercept.find(input) is not None or intercept.dims(input) != 3:
        return NotImplemented
    out = matmul_rule(intercept, batch1, batch2)
    return out if out is NotImplemented else intercept.like(out, out + input)


def einsum_rule(intercept: Interceptor, equation: Any, *operands: Any) -> Any:
    """``einsum`` of a matrix, or of a stack of them, and what is multiplied by it: one letter is summed."""
    given: Sequence[Any] = operands[0] if len(operands) == 1 else operands
    if not isinstance(equation, str) or len(given) != 2 or "." in equation or "->" not in equation:
        return NotImplemented
    inputs, _, output = equation.replace(" ", "").partition("->")
    names = inputs.split(",")
    found = [intercept.find(operand) for operand in given]
    place = 0 if found[1] is None else 1
    w, own = names[place], found[place]
    if any(len(set(name)) != len(name) for name in (*names, output)) or found[1 - place] is not None or own is None:
        return NotImplemented
    if own.delta.left is None or len(w) not in (2, 3) or own.stacked != (len(w) == 3):
        return NotImplemented
    return _contracted(intercept, given[1 - place], names[1 - place], own, w, output)


def _contracted(intercept: Interceptor, x: Tensor, names: str, found: Perturbed, w: str, output: str) -> Any:
    """Evaluates ``einsum(f"{names},{w}->{output}", x, found)``."""
    stack, summed = w[:-2], [letter for letter in w[-2:] if letter not in output]
    kept = [letter for letter in w[-2:] if letter in output]
    if len(summed) != 1 or summed[0] not in names or kept[0] in names:
        return NotImplemented
    rest = [letter for letter in names if letter not in (*stack, *summed)]
    if set(output) != {*rest, *stack, *kept}:
        return NotImplemented
    linear_way = found if w[-1] == summed[0] else _turned(found)
    own = bool(stack) and stack in names
    x = _permuted(intercept, x, names, [*(stack if own else ""), *rest, *summed])
    if stack:
        out = each_matrix(intercept, x, linear_way, own)
    else:
        left, right, _ = linear_way.delta
        out = intercept.apply(_LINEAR, x, linear_way.value, None, left, right, None)
    return out if out is NotImplemented else _permuted(intercept, out, [*stack, *rest, *kept], output)


def _permuted(intercept: Interceptor, x: Tensor, names: Any, order: Any) -> Tensor:
    lead = x.dim() - intercept.dims(x)
    return intercept.like(x, x.permute(*range(lead), *[lead + list(names).index(letter) for letter in order]))


def grouped_rule(
    intercept: Interceptor, mat_a: Tensor, mat_b: Tensor, *, offs: Tensor | None = None, bias: Any = None,
    out_dtype: Any = None,
) -> Any:  # fmt: skip
    """``functional.grouped_mm``: rows sorted by expert, through a stack."""
    found = _stack(intercept, mat_b)
    if found is None or offs is None or bias is not None or out_dtype is not None or intercept.dims(mat_a) != 2:
        return NotImplemented
    turned = _turned(found)
    return intercept.apply(Call(grouped, 1, {}), mat_a, turned.value, turned.delta.left, turned.delta.right, offs)


def transpose_rule(intercept: Interceptor, input: Tensor, *dims: Any, **named: Any) -> Any:
    """``w.mT``, ``w.transpose(1, 2)`` and ``w.permute(0, 2, 1)`` of a stack: factors change places."""
    listed = [cast("Sequence[Any]", v) if isinstance(v, tuple | list) else (v,) for v in (*dims, *named.values())]
    places = [d % 3 for several in listed for d in several if isinstance(d, int)]
    found = _stack(intercept, input)
    if found is None or (places != [0, 2, 1] and set(places) not in ({1, 2}, set())):
        return NotImplemented
    return intercept.remember(_turned(found))


def item_rule(intercept: Interceptor, input: Tensor, index: Any) -> Any:
    """``w[e]``: one matrix of a stack, or a row of a matrix; ``w[tokens]``, ``w[2:5]``: rows."""
    found = intercept.find(input)
    if found is not None and input.dim() == 2 and found.delta.left is not None and are_places(index):
        places = intercept.like(index, torch.where(index < 0, index + len(input), index))
        return intercept.apply(Call(embedding, 1, {}), places, input, found.delta.left, found.delta.right)
    if found is not None and input.dim() == 2 and _is_stretch(index):
        return intercept.remember(found.rows(input.detach()[index], index.indices(len(input))[0]))
    number = _number(intercept, index)
    if found is None or input.dim() not in (2, 3) or number is None or not -len(input) <= number < len(input):
        return NotImplemented
    return intercept.remember(found.at(number % len(input)))


def are_places(index: Any) -> bool:
    """Returns whether an index is a tensor of places, one or more dimensions of integers."""
    whole = isinstance(index, Tensor) and not (index.is_floating_point() or index.is_complex())
    return whole and index.dtype not in (torch.bool, torch.uint8) and index.dim() > 0


def _is_stretch(index: Any) -> bool:
    """Says whether an index is a slice of rows that follow one another."""
    if not isinstance(index, slice):
        return False
    given = cast("Any", index)
    return given.step in (None, 1) and all(end is None or isinstance(end, int) for end in (given.start, given.stop))


def _number(intercept: Interceptor, index: Any) -> int | None:
    """Reads an index that is one number for all members."""
    if isinstance(index, Tensor):
        if index.dim() or index.is_floating_point() or index.dtype == torch.bool:
            return None
        try:
            return int(index)
        except RuntimeError:  # under vmap every member has its own
            return None
    return index if isinstance(index, int) and not isinstance(index, bool) else None


def unbind_rule(intercept: Interceptor, input: Tensor, dim: int = 0) -> Any:
    """``w.unbind()`` and ``for one in w`` of a stack."""
    found = _stack(intercept, input)
    if found is None or dim % 3:
        return NotImplemented
    return tuple(intercept.remember(found.at(e)) for e in range(len(input)))


def iter_rule(intercept: Interceptor, input: Tensor) -> Any:
    """``for one in w`` of a stack."""
    parts = unbind_rule(intercept, input)
    return parts if parts is NotImplemented else iter(parts)


_grouped: list[Callable[..., Any]] = [
    function
    for function in (getattr(functional, "grouped_mm", None), getattr(torch, "_grouped_mm", None))
    if function is not None
]
STACK_RULES: dict[Any, Rule] = {
    **dict.fromkeys([torch.bmm, Tensor.bmm], bmm_rule),
    **dict.fromkeys([torch.baddbmm, Tensor.baddbmm], baddbmm_rule),
    torch.einsum: einsum_rule,
    **dict.fromkeys(_grouped, grouped_rule),
    **dict.fromkeys([torch.permute, Tensor.permute], transpose_rule),
    Tensor.__getitem__: item_rule,
    **dict.fromkeys([torch.unbind, Tensor.unbind], unbind_rule),
    Tensor.__iter__: iter_rule,
}
