"""Networks of integer weights, trained by evolution without a float weight or a gradient."""

from ._maths import code_length
from .es import IntegerEggroll
from .layers import IntegerEmbedding, IntegerLayer, IntegerLinear, IntegerMinGRU

__all__ = ["IntegerEggroll", "IntegerEmbedding", "IntegerLayer", "IntegerLinear", "IntegerMinGRU", "code_length"]
