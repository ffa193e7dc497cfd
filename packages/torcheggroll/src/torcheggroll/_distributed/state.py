"""The state that all ranks must share, reduced to a few words; weights are included at intervals."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .checksum import checksum, digest

_LOCAL = ("engine", "chunk_size", "memory_budget")  # settings that every rank may choose for itself


class SharedState(NamedTuple):
    """The state of a rank at one generation."""

    epoch: int
    seed: int
    settings: Mapping[str, Any]
    optimizer: torch.optim.Optimizer
    weights: Sequence[Tensor]
    verify: bool  # whether this exchange compares the weights

    def words(self, weights: bool) -> dict[str, int]:
        """Reduces the state to 64-bit words by name; the ``weights`` take a pass over all of them."""
        settings = settings_digest(self.settings, self.optimizer)
        words = {"epoch": self.epoch, "seed": self.seed, "settings": settings}
        return {**words, "weights": checksum(self.weights)} if weights else words


def settings_digest(settings: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> int:
    """Reduces settings, and the optimizer's plain ones, to 64 bits."""
    chosen = {name: value for name, value in settings.items() if name not in _LOCAL}
    if callable(chosen["fitness"]):
        chosen["fitness"] = getattr(chosen["fitness"], "__qualname__", type(chosen["fitness"]).__name__)
    plain = (bool, int, float, str, tuple, type(None))
    groups: list[dict[str, object]] = [
        {name: value for name, value in group.items() if name != "params" and isinstance(value, plain)}
        for group in optimizer.param_groups
    ]
    return digest(f"{chosen} {type(optimizer).__name__} {groups}")
