"""Step counts: right whatever happens to the tensors, and read only when they have to be."""

import pytest
import torch
from rangerlite._counts import StepCounts


def test_counts_follow_their_tensors():
    counts, steps = StepCounts(), [torch.tensor(0.0), torch.tensor(5.0)]
    assert [counts.advance(steps) for _ in range(3)] == [[1, 6], [2, 7], [3, 8]]
    assert [step.item() for step in steps] == [3.0, 8.0]


def test_a_subset_advances_alone():
    counts, steps = StepCounts(), [torch.tensor(0.0), torch.tensor(0.0)]
    counts.advance(steps)
    counts.advance(steps[1:])
    assert counts.advance(steps) == [2, 3]


def test_somebody_elses_write_is_noticed():
    counts, step = StepCounts(), torch.tensor(0.0)
    counts.advance([step])
    step.fill_(41.0)
    assert counts.advance([step]) == [42]


def test_another_tensor_is_read_anew():
    counts = StepCounts()
    counts.advance([torch.tensor(0.0)])
    assert counts.advance([torch.tensor(9.0)]) == [10]


def test_nothing_is_read_while_nobody_else_writes():
    testkit = pytest.importorskip("testkit", reason="needs the workspace's test kit")
    counts, steps = StepCounts(), [torch.tensor(0.0), torch.tensor(0.0)]
    with testkit.count_host_reads() as first:
        counts.advance(steps)
    with testkit.count_host_reads() as later:
        counts.advance(steps)
    assert len(first) == 2  # a new tensor has to be read once
    assert not later
