"""Networks with integer weights, trained by evolution without float weights or gradients."""

from ._maths import code_length
from .es import IntegerEggroll
from .layers import IntegerEmbedding, IntegerLayer, IntegerLinear, IntegerMinGRU

__all__ = ["IntegerEggroll", "IntegerEmbedding", "IntegerLayer", "IntegerLinear", "IntegerMinGRU", "code_length"]
