"""A population shared by ranks: each evaluates its own members, all make the same update."""

from typing import Any

import torch
from torch import Tensor

from ._distributed.checksum import checksum, digest
from ._evaluate.task import Task
from ._strategy import Strategy
from .fitness import fitness_table

_LOCAL = ("engine", "chunk_size", "memory_budget")  # settings that every rank may choose for itself


class Together(Strategy):
    """What a process does for itself, and what it compares with the others; alone, there are no others."""

    checksum_every: int
    _unverified: bool = False

    def verify_soon(self) -> None:
        """Compare the weights in the next exchange, whenever it is."""
        self._unverified = True

    def _run(self, task: Task) -> Any:
        """Evaluate the members of this process."""
        own = self.own_members
        if not own:
            return []
        if len(own) == self.pop_size:
            return self.evaluator.run(task, self.perturbations, list(own))
        return self.evaluator.run(task, lambda some: self.perturbations([own[i] for i in some]), list(range(len(own))))

    def _evaluate(self, task: Task) -> Tensor:
        """Give the fitness of the members of this process; where that fails, the others hear of it."""
        try:
            table = fitness_table(self._run(task))
            if len(table) != len(self.own_members):
                raise ValueError(f"Expected {len(self.own_members)} fitness scores, got {len(table)}")
        except Exception:
            self.ranks.fail(self.pop_size, self.antithetic, self.epoch)
            raise
        return table

    def _of_all_ranks(self, own: Tensor) -> Tensor:
        """Turn the fitness of this process's members into that of the population."""
        table = self.ranks.exchange(own, self.pop_size, self.antithetic, self.epoch, self._common)
        self._unverified = False
        return table

    def _common(self, everything: bool) -> dict[str, int]:
        """Reduce what all ranks must have in common to a few words; the weights only now and then."""
        due = self._unverified or bool(self.checksum_every and self.epoch % self.checksum_every == 0)
        words = {"epoch": self.epoch, "seed": self.seed, "settings": self._settings_digest()}
        if everything or due:
            words["weights"] = checksum(p.value for p in self.parameters)
        return words

    def _begin_together(self, chosen: int | None) -> int:
        """Refuse ranks that begin differently.

        Args:
            chosen: the seed that the user gave.

        Returns:
            It, or what rank 0 would use where no rank was given one.
        """
        if self.ranks.alone:
            return self.seed
        evolved = zip(self.param_names, self.param_shapes, self.param_dtypes, strict=True)
        words = {
            "the choice to give a seed": int(chosen is None),
            "the seed": chosen or 0,
            "names or shapes of the evolved parameters": digest(str(list(evolved))),
            "settings": self._settings_digest(),
            "weights and buffers": checksum([*self.model.parameters(), *self.model.buffers()]),
        }
        agreed = self.ranks.compare(words, self.epoch, self.seed)
        return agreed if chosen is None else chosen

    def _settings_digest(self) -> int:
        chosen = {name: value for name, value in self.settings()._asdict().items() if name not in _LOCAL}
        if callable(chosen["fitness"]):
            chosen["fitness"] = getattr(chosen["fitness"], "__qualname__", type(chosen["fitness"]).__name__)
        return digest(f"{chosen} {self.checksum_every} {_described(self.updater.optimizer)}")


def _described(optimizer: torch.optim.Optimizer) -> str:
    plain = (bool, int, float, str, tuple, type(None))
    groups: list[dict[str, object]] = [
        {name: value for name, value in group.items() if name != "params" and isinstance(value, plain)}
        for group in optimizer.param_groups
    ]
    return f"{type(optimizer).__name__} {groups}"
