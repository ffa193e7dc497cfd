"""Any number of ranks in one process: each pauses where it would wait, and goes on when all have come that far."""

import torch
from torcheggroll import TorchEggrollES
from torcheggroll._distributed.ranks import Ranks


class PauseError(Exception):
    """A rank waits for the others."""


class Wire:
    """Keeps the rows that ranks send.

    Args:
        world: number of ranks.
    """

    def __init__(self, world):
        self.world = world
        self.rounds = []  # of the step now going on: {rank: row} per exchange
        self.complete = []  # the rows of each exchange that all have reached
        self.position = 0
        self.rank = 0

    def ranks(self, rank):
        """Give a rank its place."""
        return Ranks(rank, self.world, self._gather)

    def _gather(self, row):
        if self.position == len(self.rounds):
            self.rounds.append({})
        found = self.rounds[self.position]
        found[self.rank] = row.clone()
        if len(found) < self.world:
            raise PauseError
        if self.position == len(self.complete):
            self.complete.append(torch.stack([found[rank] for rank in range(self.world)]))
        self.position += 1
        return self.complete[self.position - 1].clone()

    def run(self, calls):
        """Make each rank's call until it goes through; gives what they returned, or the exception they raised."""
        self.rounds, self.complete, done = [], [], {}
        while len(done) < self.world:
            for rank, call in enumerate(calls):
                if rank in done:
                    continue
                self.rank, self.position = rank, 0
                try:
                    done[rank] = call()
                except PauseError:
                    continue
                except RuntimeError as error:
                    done[rank] = error
        return [done[rank] for rank in range(self.world)]

    @property
    def received(self):
        """Bytes that one rank received in the last exchange, its own included."""
        return sum(row.numel() * row.element_size() for found in self.rounds for row in found.values())


def members_of(wire, make, **settings):
    """Build one optimizer per rank, each on a model of its own."""
    made = []
    for rank in range(wire.world):
        es = TorchEggrollES(make(), **settings)
        es.ranks = wire.ranks(rank)
        made.append(es)
    return made


def weights(es):
    return torch.cat([p.detach().flatten() for p in es.model.parameters()])
