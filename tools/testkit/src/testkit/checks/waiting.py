"""Waiting: the number of times a step waits for the device is counted, and bounded by the documented number."""

from collections.abc import Iterable

from torch import Tensor
from torch.utils._pytree import tree_leaves

from testkit.case import Case
from testkit.checks._check import check, expect
from testkit.host_reads import count_host_reads
from testkit.trajectories import run
from testkit.trial import OptimizerTrial

STEPS = 13


def _on_device(trial: OptimizerTrial, loss: Tensor) -> Iterable[Tensor]:
    """Yields what would live on an accelerator: all but the state that the contract keeps on the host."""
    yield loss
    for parameter in trial.parameters:
        yield parameter
        if parameter.grad is not None:
            yield parameter.grad
    for entries in trial.optimizer.state.values():
        held = {name: value for name, value in entries.items() if name not in trial.contract.host_state}
        yield from (leaf for leaf in tree_leaves(held) if isinstance(leaf, Tensor))


@check
def host_reads_are_bounded(case: Case) -> None:
    """A step reads no more numbers off the device than documented; by default none."""
    allowed = case.contract.host_reads
    if allowed is None:
        return
    trial = case.start()
    run(trial, range(1))
    for t in range(1, STEPS):
        loss = trial.problem.backward(t)
        with count_host_reads(_on_device(trial, loss)) as reads:
            trial.apply(loss)
        expect(len(reads) <= allowed, f"at most {allowed} host reads in a step", f"step {t} has {len(reads)}: {reads}")
