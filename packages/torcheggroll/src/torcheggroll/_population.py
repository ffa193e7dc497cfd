"""The members of one epoch, and what is needed to make one elsewhere."""

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar, overload

Item = TypeVar("Item")


class MemberSpec(NamedTuple):
    """All it takes to make a member again, on a worker that holds the same weights and settings."""

    seed: int
    epoch: int
    member: int


class Population(Sequence[Item], Generic[Item]):
    """A population whose members are made when they are asked for.

    Args:
        size: number of members.
        make: gives a member by its index.
    """

    def __init__(self, size: int, make: Callable[[int], Item]) -> None:
        self._size = size
        self._make = make

    def __len__(self) -> int:
        """Count the members."""
        return self._size

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        """Make one member, or some."""
        if isinstance(index, slice):
            return [self._make(i) for i in range(*index.indices(self._size))]
        if not -self._size <= index < self._size:
            raise IndexError(f"member must be in [{-self._size}, {self._size}), got {index}")
        return self._make(index % self._size)

    def __iter__(self) -> Iterator[Item]:
        """Make one member after the other."""
        return (self._make(i) for i in range(self._size))

    def __repr__(self) -> str:
        """Say how many there are; none is made."""
        return f"Population({self._size} members)"
