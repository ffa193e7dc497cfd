"""The rule for convolutions: which go to the op library, and with what factors.

One filter per group of members would use kernels that round differently from those of a larger chunk; they are avoided,
so that a member has the same bits in any chunk.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .._ops.convolution import convolution
from .._ops.per_member import Call
from ..noise.perturbation import Delta
from .intercept import Interceptor, Rule

_NONE = Delta(None, None, None)


def convolution_rule(base: Callable[..., Tensor], dims: int) -> Rule:
    """Makes the rule of ``functional.conv1d``, ``functional.conv2d`` or ``functional.conv3d``."""

    def rule(
        intercept: Interceptor,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Any:
        if intercept.find(input) is not None:
            return NotImplemented
        found, shift = intercept.find(weight), intercept.find(bias)
        delta = found.delta if found else _NONE
        if (delta.dense is not None and weight.shape[0] != 1) or (found is not None and found.stacked):
            return NotImplemented
        delta = _row(delta, weight.dim())
        settings = {"stride": stride, "padding": padding, "dilation": dilation}
        call = Call(convolution, 2, {"base": base, "groups": groups, "settings": settings})
        lead = input.dim() - intercept.dims(input)
        x = input if intercept.dims(input) == dims + 2 else intercept.like(input, input.unsqueeze(lead))
        out = intercept.apply(call, x, weight, bias, delta.left, delta.right, shift.delta.dense if shift else None)
        return out if x is input or out is NotImplemented else intercept.like(out, out.squeeze(lead))

    return rule


def _row(delta: Delta, dims: int) -> Delta:
    """Returns the dense perturbation of a weight of one row as factors, of which one is 1."""
    if delta.dense is None:
        return delta
    right = delta.dense.flatten(-dims).unsqueeze(-2)
    return Delta(right.new_ones(*right.shape[:-1], 1), right, None)
