"""Base products of inputs that all members see: made for the first chunk, read by the others.

    x (W + σEᵢ)ᵀ + b = (x Wᵀ + b) + …, and the bracket is the same for every chunk of one evaluation

One product is kept per weight, of the input that came last, so that memory does not depend on the population.
"""

from torch import Tensor

from ._ops.linear import base_product


class SharedProducts:
    """The base products of one evaluation, while weights rest."""

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], tuple[Tensor, int, Tensor]] = {}

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Give ``x weightᵀ + bias`` as rows.

        Args:
            x: ``(..., n)``, the same for all members.
            weight: ``(m, n)``.
            bias: ``(m,)``.

        Returns:
            ``(rows, m)``; not to be written to.
        """
        if x.is_inference():  # such a tensor can not tell whether it was written to
            return base_product(x, weight, bias)
        key = (_place(weight), None if bias is None else _place(bias))
        kept = self._kept.get(key)
        if kept is None or _place(kept[0]) != _place(x) or kept[1] != x._version:
            kept = self._kept[key] = x, x._version, base_product(x, weight, bias)
        return kept[2]


def _place(tensor: Tensor) -> tuple[object, ...]:
    """Tell apart all tensors that are alive: where the numbers lie and how they are read."""
    return tensor.data_ptr(), tensor.device, tensor.dtype, tuple(tensor.shape), tensor.stride()
