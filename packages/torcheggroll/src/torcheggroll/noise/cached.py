"""The perturbations of an epoch, kept for as long as the same members are evaluated again and again."""

from collections.abc import Callable, Hashable

from .perturbation import Delta


class Held:
    """Draws each chunk of members once; another population, by its key, replaces what was kept."""

    def __init__(self) -> None:
        self._key: Hashable = None
        self._chunks: dict[tuple[int, ...], list[Delta]] = {}

    def get(self, key: Hashable, members: list[int], draw: Callable[[], list[Delta]]) -> list[Delta]:
        """Give the perturbations of ``members`` of the population ``key``."""
        if key != self._key:
            self._key, self._chunks = key, {}
        chunk = tuple(members)
        if chunk not in self._chunks:
            self._chunks[chunk] = draw()
        return self._chunks[chunk]
