"""Which op goes to which implementation: the table behind the interceptor, one member at a time.

A rule reads the arguments of torch's own function; what it does not cover it declines, with NotImplemented.
"""

from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .._ops.attention import grouping
from .._ops.embedding import embedding
from .._ops.fused_cuda import fits_row
from .._ops.linear import linear
from .._ops.normalization import normalization
from .._ops.per_member import Attention, Call
from ..noise.model import factor_dtype
from ..noise.perturbation import Delta
from .convolution_rule import convolution_rule
from .intercept import Interceptor, Perturbed, Rule, formed
from .stack_rules import STACK_RULES, first_of
from .stack_rules import matmul_rule as stack_matmul_rule
from .stack_rules import transpose_rule as stack_transpose_rule

_NONE = Delta(None, None, None)
_GET = "__get__"  # what torch hands over when an attribute is read


def _dense(found: Perturbed | None) -> Tensor | None:
    """Returns the perturbation of a scale or shift in full."""
    if found is None:
        return None
    left, right, dense = found.delta
    if left is not None and right is not None:
        return formed(left, right, found.value.shape)
    return dense


def linear_rule(intercept: Interceptor, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    """``functional.linear``."""
    if intercept.find(input) is not None or weight.dim() != 2:
        return NotImplemented
    found, shift = intercept.find(weight), intercept.find(bias)
    delta = found.delta if found else _NONE
    if delta.dense is not None:
        return NotImplemented
    dense = shift.delta.dense if shift else None
    source = intercept.source(delta, input, weight, bias, dense)
    if source is not None:
        return intercept.apply(Call(linear, 2, {"source": source}), input, weight, bias, None, None, dense)
    return intercept.apply(Call(linear, 2, {}), input, weight, bias, delta.left, delta.right, dense)


def matmul_rule(intercept: Interceptor, input: Tensor, other: Tensor) -> Any:
    """``x @ w`` and ``w @ x`` for a matrix w."""
    right, left = intercept.find(other), intercept.find(input)
    if right is not None and left is None and other.dim() == 2 and right.delta.left is not None:
        flipped = right.transposed(other.t())
        return intercept.apply(
            Call(linear, 2, {}), input, flipped.value, None, flipped.delta.left, flipped.delta.right, None
        )
    dims = intercept.dims(other)
    if left is not None and right is None and input.dim() == 2 and left.delta.left is not None and dims < 3:
        x = other if dims == 1 else intercept.like(other, other.transpose(-1, -2))
        out = intercept.apply(Call(linear, 2, {}), x, input, None, left.delta.left, left.delta.right, None)
        return out if dims == 1 or out is NotImplemented else intercept.like(out, out.transpose(-1, -2))
    return NotImplemented


def rmatmul_rule(intercept: Interceptor, input: Tensor, other: Tensor) -> Any:
    """``Tensor.__rmatmul__``: the arguments come the other way round."""
    return matmul_rule(intercept, other, input)


def addmm_rule(
    intercept: Interceptor, input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Any:
    """``addmm(bias, x, w)``, as in the Conv1D of Transformers."""
    found, shift = intercept.find(mat2), intercept.find(input)
    if beta != 1 or alpha != 1 or intercept.find(mat1) is not None or input.dim() != 1:
        return NotImplemented
    if found is not None and found.delta.left is None:
        return NotImplemented
    delta = found.transposed(mat2.t()).delta if found else _NONE
    tensors = (mat2.t(), input, delta.left, delta.right, shift.delta.dense if shift else None)
    return intercept.apply(Call(linear, 2, {}), mat1, *tensors)


def embedding_rule(
    intercept: Interceptor,
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    """``functional.embedding``; a ``max_norm`` writes into the table and is declined."""
    found = intercept.find(weight)
    if found is None or found.delta.left is None or max_norm is not None:
        return NotImplemented
    return intercept.apply(Call(embedding, 1, {}), input, weight, found.delta.left, found.delta.right)


def _normalization(
    intercept: Interceptor,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    normalize: Callable[[Tensor], Tensor],
    channel_first: bool,
    rowwise: tuple[float, bool] | None = None,
) -> Any:
    if intercept.find(x) is not None:
        return NotImplemented
    deltas = _dense(intercept.find(weight)), _dense(intercept.find(bias))
    options = {"normalize": normalize, "channel_first": channel_first, "rowwise": rowwise}
    return intercept.apply(Call(normalization, 2, options), x, weight, bias, *deltas)


def _is_row(normalized_shape: Any) -> bool:
    """Returns whether a norm is over the last dimension alone, and short enough for one program of a GPU."""
    size = [normalized_shape] if isinstance(normalized_shape, int) else list(normalized_shape)
    return len(size) == 1 and fits_row(size[0])


def layer_norm_rule(
    intercept: Interceptor,
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Any:
    """``functional.layer_norm``."""
    return _normalization(
        intercept, input, weight, bias, lambda x: functional.layer_norm(x, normalized_shape, None, None, eps), False,
        (eps, True) if _is_row(normalized_shape) else None,
    )  # fmt: skip


def rms_norm_rule(
    intercept: Interceptor, input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None
) -> Any:
    """``functional.rms_norm``."""
    return _normalization(
        intercept, input, weight, None, lambda x: functional.rms_norm(x, normalized_shape, None, eps), False,
        (eps, False) if _is_row(normalized_shape) and eps is not None else None,
    )  # fmt: skip


def group_norm_rule(
    intercept: Interceptor,
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Any:
    """``functional.group_norm``."""
    return _normalization(
        intercept, input, weight, bias, lambda x: functional.group_norm(x, num_groups, None, None, eps), True
    )


def batch_norm_rule(
    intercept: Interceptor,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """``functional.batch_norm`` with running statistics; those of a batch would mix the members."""
    if training:
        return NotImplemented

    def normalize(x: Tensor) -> Tensor:
        return functional.batch_norm(x, running_mean, running_var, None, None, False, 0.0, eps)

    return _normalization(intercept, input, weight, bias, normalize, True)


def transpose_rule(intercept: Interceptor, input: Tensor, *dims: Any, **named: Any) -> Any:
    """``w.t()``, ``w.T``, ``w.mT`` and ``w.transpose(0, 1)``: a view whose factors change places."""
    found = intercept.find(input)
    given = {d % 2 for d in (*dims, *named.values()) if isinstance(d, int)}
    if found is None or input.dim() != 2 or (given and given != {0, 1}):
        return NotImplemented
    return intercept.remember(found.transposed(torch.transpose(input, 0, 1)))


def same_rule(intercept: Interceptor, input: Tensor, *_: Any, **__: Any) -> Any:
    """``detach``, ``data``, ``contiguous``: the parameter under another identity."""
    found = intercept.find(input)
    if found is None:
        return NotImplemented
    return intercept.remember(Perturbed(found.name, input.detach().view_as(input), found.delta))


def cast_rule(func: Any) -> Rule:
    """Makes the rule of ``to``, ``float``, ``type`` and their like: the parameter in another dtype, or as it is."""

    def rule(intercept: Interceptor, input: Tensor, *args: Any, **kwargs: Any) -> Any:
        found = intercept.find(input)
        if found is None:
            return NotImplemented
        out = func(input, *args, **kwargs)
        if out is input or not isinstance(out, Tensor):  # ``type()`` gives a name
            return out
        if not out.is_floating_point() or out.device != input.device:
            return NotImplemented
        dtype = factor_dtype(out.dtype)
        left, right, dense = (None if t is None else t.to(dtype) for t in found.delta)
        return intercept.remember(Perturbed(found.name, out.detach(), Delta(left, right, dense)))

    return rule


def split_rule(func: Any) -> Rule:
    """Makes the rule of ``split`` or ``chunk`` along the first dimension, as attention does with packed projections."""

    def rule(intercept: Interceptor, input: Tensor, sections: Any, dim: int = 0) -> Any:
        found = intercept.find(input)
        if found is None or dim != 0 or input.dim() > 2:
            return NotImplemented
        pieces: list[Tensor] = []
        first = 0
        for piece in func(input, sections):
            pieces.append(intercept.remember(found.rows(piece, first)))
            first += len(piece)
        return tuple(pieces)

    return rule


class Heads(NamedTuple):
    """The arguments of torch's attention, with parameters formed in full."""

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    dropout: float
    causal: bool
    scale: float | None
    grouped: bool


def heads(
    intercept: Interceptor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Heads:
    """Reads the arguments of ``functional.scaled_dot_product_attention``."""
    sdpa = functional.scaled_dot_product_attention
    q, k, v, mask = (intercept.whole(sdpa, t) for t in (query, key, value, attn_mask))
    return Heads(q, k, v, mask, dropout_p, is_causal, scale, enable_gqa)


def attention_rule(intercept: Interceptor, *args: Any, **kwargs: Any) -> Any:
    """``functional.scaled_dot_product_attention``, whether or not a parameter takes part."""
    h = heads(intercept, *args, **kwargs)
    if h.dropout:
        return functional.scaled_dot_product_attention(
            *h[:4], h.dropout, h.causal, scale=h.scale, **grouping(h.grouped)
        )
    return Attention.apply(*h[:4], h.causal, h.scale, h.grouped)


def _never(_: object) -> bool:
    return False


def opened(function: Any) -> Rule:
    """Makes the rule of a function written in Python: run its own lines, whose ops are intercepted one by one."""
    own: dict[str, Any] = {**function.__globals__, "has_torch_function": _never}
    body = FunctionType(function.__code__, own, function.__name__, function.__defaults__, function.__closure__)
    body.__kwdefaults__ = function.__kwdefaults__

    def rule(intercept: Interceptor, *args: Any, **kwargs: Any) -> Any:
        with intercept:
            return body(*args, **kwargs)

    return rule


OPENED: dict[Any, Rule] = {functional.multi_head_attention_forward: opened(functional.multi_head_attention_forward)}
RULES: dict[Any, Rule] = {
    functional.linear: linear_rule,
    functional.embedding: embedding_rule,
    functional.conv1d: convolution_rule(functional.conv1d, 1),
    functional.conv2d: convolution_rule(functional.conv2d, 2),
    functional.conv3d: convolution_rule(functional.conv3d, 3),
    functional.layer_norm: layer_norm_rule,
    functional.rms_norm: rms_norm_rule,
    functional.group_norm: group_norm_rule,
    functional.batch_norm: batch_norm_rule,
    **OPENED,
    torch.addmm: addmm_rule,
    Tensor.addmm: addmm_rule,
    **dict.fromkeys([torch.mm, torch.mv, Tensor.mm, Tensor.mv], matmul_rule),
    **dict.fromkeys([torch.matmul, Tensor.matmul, Tensor.__matmul__], first_of(matmul_rule, stack_matmul_rule)),
    Tensor.__rmatmul__: rmatmul_rule,
    **dict.fromkeys(
        [torch.transpose, Tensor.transpose, getattr(Tensor.mT, _GET)], first_of(transpose_rule, stack_transpose_rule)
    ),
    **dict.fromkeys([torch.t, Tensor.t, getattr(Tensor.T, _GET)], transpose_rule),
    **dict.fromkeys([torch.detach, Tensor.detach, getattr(Tensor.data, _GET), Tensor.contiguous], same_rule),
    **{
        cast: cast_rule(cast)
        for cast in (Tensor.to, Tensor.type, Tensor.type_as, Tensor.float, Tensor.double, Tensor.half, Tensor.bfloat16)
    },
    **dict.fromkeys([torch.chunk, Tensor.chunk], split_rule(torch.chunk)),
    **dict.fromkeys([torch.split, getattr(Tensor, "split")], split_rule(torch.split)),  # noqa: B009
    **STACK_RULES,
}
ALWAYS: dict[Any, Rule] = {functional.scaled_dot_product_attention: attention_rule}
