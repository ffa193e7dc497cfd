"""Replicas: two processes that average their gradients take the same steps."""

from testkit.case import Case
from testkit.checks._check import check, expect
from testkit.replicas import train_on_replicas
from testkit.trajectories import parting

STEPS = 8


@check
def two_replicas_stay_equal(case: Case) -> None:
    """Two gloo processes under DDP, with data and global seeds of their own, hold the same weights to the bit."""
    if case.contract.draws_from_global_stream:
        return
    first, second = train_on_replicas(case, STEPS)
    where = parting(second, first)
    expect(not where, "rank 1 to hold what rank 0 holds", where)
    expect(bool(parting(first[1:], first[:-1])), "the replicas to be trained", "they did not move")
