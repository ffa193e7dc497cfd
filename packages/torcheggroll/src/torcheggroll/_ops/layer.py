"""A linear layer of a population, and what its members' factors are drawn from where a kernel draws them."""

from typing import NamedTuple

from torch import Tensor


class Source(NamedTuple):
    """The counters from which a kernel draws the factors of one parameter, all on the device of the noise."""

    members: int
    rank: int
    start: Tensor  # () int64, where the parameter's keys start
    pairs: Tensor  # (K,) int64
    signs: Tensor | None  # (K,) float32, where the members are no pairs
    scale: Tensor  # () float64, σ/√r
    quantiles: Tensor  # (65536,) float32
    mirrored: bool  # whether members 2k and 2k + 1 are pair k
    distribution: str
    right: int  # where B begins in a stream


class Layer(NamedTuple):
    """A linear layer, and how the members' differ from it."""

    weight: Tensor  # (m, n)
    bias: Tensor | None = None  # (m,)
    left: Tensor | None = None  # (members, r, m), with σ and sign
    right: Tensor | None = None  # (members, r, n)
    bias_delta: Tensor | None = None  # (members, m), with σ and sign
    source: Source | None = None  # in the place of left and right

    @property
    def members(self) -> int:
        """The number of members."""
        return len(self.given) if self.source is None else self.source.members

    @property
    def given(self) -> Tensor:
        """One of the perturbations."""
        given = self.left if self.left is not None else self.bias_delta
        assert given is not None
        return given

    @property
    def factors(self) -> tuple[Tensor, Tensor]:
        """Both factors, where they are there."""
        assert self.left is not None
        assert self.right is not None
        return self.left, self.right
