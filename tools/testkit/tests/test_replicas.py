"""The replicas are started once, serve one case after the other, and are replaced when one is lost."""

import broken
import pytest
import torch
from testkit import Case
from testkit.replicas import ReplicaError, train_on_replicas

ADAM = Case("Adam", torch.optim.Adam, lr=0.05)


def test_both_ranks_train_on_the_mean_gradient():
    first, second = train_on_replicas(ADAM, 3)
    assert len(first) == 3
    assert all(map(torch.equal, first[-1], second[-1]))
    assert not torch.equal(first[0][1], first[2][1])


def test_a_rank_that_raises_is_reported_and_the_next_case_runs():
    with pytest.raises(ReplicaError, match=r"(?s)rank 1: .*rank 1 is out of memory"):
        train_on_replicas(Case("fails", broken.FailsOnOneRank), 2)
    assert len(train_on_replicas(ADAM, 2)) == 2
