"""Base products of inputs that all members share: computed for the first chunk, reused by the others.

    x (W + σEᵢ)ᵀ + b = (x Wᵀ + b) + …, and the bracket is the same for every chunk of one evaluation

One product is kept per perturbed weight, that of the last input and bias, so that memory does not depend on the
population. The tensors it was computed from are kept with it, so that their memory cannot be reused meanwhile.
"""

from typing import NamedTuple

from torch import Tensor

from .._ops.linear import base_product

Stamp = tuple[object, ...]


class Product(NamedTuple):
    """A base product, and what it was made from."""

    given: list[Tensor]
    stamps: list[Stamp]
    value: Tensor


class SharedProducts:
    """The base products of one evaluation."""

    def __init__(self) -> None:
        self._kept: dict[int, Product] = {}

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Returns ``x weightᵀ + bias`` as rows.

        Args:
            x: ``(..., n)``, the same for all members.
            weight: ``(m, n)``.
            bias: ``(m,)``.

        Returns:
            ``(rows, m)``; not to be written to.
        """
        given = [x, weight] if bias is None else [x, weight, bias]
        if any(tensor.is_inference() for tensor in given):  # such tensors can not tell whether they were written to
            return base_product(x, weight, bias)
        stamps = [_stamp(tensor) for tensor in given]
        kept = self._kept.get(weight.data_ptr())
        if kept is None or kept.stamps != stamps:
            kept = self._kept[weight.data_ptr()] = Product(given, stamps, base_product(x, weight, bias))
        return kept.value


def _stamp(tensor: Tensor) -> Stamp:
    """Says where a tensor's numbers lie, how they are read, and how often they were written to."""
    place = tensor.data_ptr(), tensor.device, tensor.dtype, tuple(tensor.shape), tensor.stride()
    return *place, tensor._version
