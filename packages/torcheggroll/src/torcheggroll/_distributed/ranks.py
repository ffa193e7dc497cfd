"""The members of each rank, and the exchange of their fitness.

Each rank sends one row of 64-bit words per step: a header, and a fitness for each member of the busiest rank. The
header holds the number of evaluations per member and a digest of the state that all ranks must share. Where members
were evaluated more than once, the rest follows in a second row. Nothing is written before every row has arrived.
"""

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor

from ..fitness import NAN
from .checksum import digest
from .state import SharedState

Gather = Callable[[Tensor], Tensor]

_CODE = 24  # bits of the header for the number of evaluations; the digest takes the others
_FAILED = (1 << _CODE) - 1
_WORD = (1 << 64) - 1


class Ranks:
    """A process's place among those that share a population.

    Args:
        rank: of this process.
        world: number of processes.
        gather: takes a row ``(n,)`` int64 and gives the rows of all ranks ``(world, n)``, on the CPU.
    """

    def __init__(self, rank: int = 0, world: int = 1, gather: Gather | None = None) -> None:
        self.rank: int = rank
        self.world: int = world
        self._gather = gather

    @property
    def alone(self) -> bool:
        """Returns whether there is nobody to exchange anything with."""
        return self._gather is None

    def __deepcopy__(self, memo: dict[int, Any]) -> "Ranks":
        """Shares the place: a group can not be copied."""
        return self

    def __reduce__(self) -> tuple[type["Ranks"], tuple[()]]:
        """Is alone where it is unpickled: that process has its own group, or none."""
        return Ranks, ()

    def shares(self, population: int, antithetic: bool) -> list[range]:
        """Says which members each rank evaluates: whole pairs, next to each other, nobody more than one pair more."""
        size, pairs = (2, population // 2) if antithetic else (1, population)
        ends = [size * (pairs * rank // self.world) for rank in range(self.world + 1)]
        return [range(*both) for both in pairwise(ends)]

    def gather(self, row: Tensor, epoch: int) -> Tensor:
        """Returns every rank's ``row``, ``(n,)`` of int64 or float64, as ``(world, n)``.

        Raises:
            RuntimeError: a rank is lost.
        """
        if self._gather is None:
            return row.unsqueeze(0)
        try:
            return self._gather(row.contiguous().view(torch.int64)).view(row.dtype)
        except RuntimeError as error:
            raise RuntimeError(
                f"rank {self.rank} of {self.world} lost another rank in epoch {epoch}: {error}. Nothing was written. "
                "Every rank of the group must build TorchEggrollES and make the same calls; start all of them again "
                "from the last checkpoint (torchrun --max-restarts does), or pass process_group=False to run alone"
            ) from error

    def exchange(self, own: Tensor, shares: Sequence[range], state: SharedState) -> Tensor:
        """Joins the fitness of every rank's members.

        Args:
            own: ``(members,)`` or ``(members, evaluations)`` float64, of this rank's members in order.
            shares: the members of each rank.
            state: what all ranks must have in common.

        Returns:
            The whole table, the same on every rank, as one process would have made it.

        Raises:
            RuntimeError: a rank is lost, could not evaluate its members, or holds another state; nothing was written.
        """
        if self.alone:
            return own
        epoch, most = state.epoch, _busiest(shares)
        sent = torch.arange(most) < torch.tensor([[len(share)] for share in shares])
        code = 0 if own.dim() == 1 else own.shape[1]
        first = own[:, 0] if code else own
        rows = self.gather(_row(code, state.words(state.verify), first, most), epoch)
        codes, marks = zip(*[_split(int(header)) for header in rows[:, 0]], strict=True)
        failed = [rank for rank, found in enumerate(codes) if found == _FAILED]
        if failed:
            raise RuntimeError(
                f"{_named(failed)} could not evaluate the members of epoch {epoch}; nothing was written. The cause "
                "stands in the output of that rank"
            )
        if len(set(marks)) > 1:
            self.compare(state.words(True), epoch)
        table = rows[:, 1:][sent].view(own.dtype)
        width = max(codes)
        if width < 2:
            return table.unsqueeze(1) if width else table
        rest = own.new_full((len(own), width - 1), NAN)
        if code:
            rest[:, : code - 1] = own[:, 1:]
        return torch.cat([table.unsqueeze(1), self.gather_rows(rest, shares, epoch)], 1)

    @contextmanager
    def evaluation(self, shares: Sequence[range], epoch: int) -> Generator[None, None, None]:
        """Lets the others know where the evaluation inside the ``with`` fails, so that they need not wait for it."""
        try:
            yield
        except Exception:
            if not self.alone:
                with suppress(RuntimeError):  # they are gone, and the caller is about to see what went wrong here
                    self.gather(_row(_FAILED, {}, torch.zeros(0, dtype=torch.float64), _busiest(shares)), epoch)
            raise

    def gather_rows(self, own: Tensor, shares: Sequence[range], epoch: int) -> Tensor:
        """Joins ``(members, ...)`` of every rank, of int64 or float64, in the order of the population."""
        if self.alone:
            return own
        row = own.new_zeros(_busiest(shares), *own.shape[1:])
        row[: len(own)] = own
        rows = self.gather(row.view(-1), epoch).view(self.world, *row.shape)
        return torch.cat([found[: len(share)] for found, share in zip(rows, shares, strict=True)])

    def compare(self, words: Mapping[str, int], epoch: int, own: int = 0) -> int:
        """Raises if ranks hold different states.

        Args:
            words: what they must have in common, by name.
            epoch: for messages.
            own: a word of this rank that is not compared.

        Returns:
            ``own`` of rank 0, modulo 2⁶⁴.

        Raises:
            RuntimeError: something differs; the message says what, and on which ranks.
        """
        rows = self.gather(torch.tensor([_signed(word) for word in (*words.values(), own)]), epoch)
        columns = cast("list[list[int]]", rows.t().tolist())  # pyright: ignore[reportUnknownMemberType]
        wrong: list[str] = []
        for name, column in zip(words, columns, strict=False):
            usual = Counter(column).most_common(1)[0][0]
            differing = [rank for rank, word in enumerate(column) if word != usual]
            if differing:
                wrong.append(f"{name} ({_named(differing)} from rank {column.index(usual)})")
        if wrong:
            raise RuntimeError(
                f"all {self.world} ranks must hold the same state, but in epoch {epoch} these differ: "
                f"{'; '.join(wrong)}. Nothing was written. Build the model from one seed and with the same settings on "
                "every rank, or load one checkpoint on all of them; ranks that run optimizers of their own pass "
                "process_group=False"
            )
        return int(rows[0, -1]) & _WORD


def _row(code: int, words: Mapping[str, int], fitness: Tensor, most: int) -> Tensor:
    mark = digest(repr(sorted(words.items()))) >> _CODE  # what is left of the header
    row = torch.zeros(1 + most, dtype=torch.int64)
    row[0] = _signed(mark << _CODE | code)
    row[1 : 1 + len(fitness)] = fitness.contiguous().view(torch.int64)
    return row


def _busiest(shares: Sequence[range]) -> int:
    """Counts the members of the rank that has the most."""
    return max(map(len, shares))


def _split(header: int) -> tuple[int, int]:
    return header & _FAILED, header >> _CODE


def _signed(word: int) -> int:
    word &= _WORD
    return word - (1 << 64) if word >> 63 else word


def _named(ranks: list[int]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"
