import math

import numpy as np
import pytest
from bench.execute.train import execute
from bench.protocol.plan import studies
from bench.protocol.profiles import PROFILES
from bench.tensors import tensor_of
from bench.workloads.data import plays
from bench.workloads.language import CONTEXT, windows


def trigram_bits(train, test):
    """Bits per byte of a trigram table smoothed by a bigram table, made from the bytes that a run trains on."""
    counts = np.zeros((256, 256, 256), np.float32)
    for i in range(CONTEXT - 1):
        np.add.at(counts, (train[:, i], train[:, i + 1], train[:, i + 2]), 1)
    pairs = counts.sum(0)
    single = (pairs.sum(0) + 1) / (pairs.sum() + 256)
    after_one = (pairs + 4 * single) / (pairs.sum(-1, keepdims=True) + 4)
    after_two = (counts + 4 * after_one) / (counts.sum(-1, keepdims=True) + 4)
    bits = [np.log2(after_two[test[:, i], test[:, i + 1], test[:, i + 2]]) for i in range(CONTEXT - 1)]
    return -float(np.mean(bits))


@pytest.mark.slow
def test_a_full_run_ends_below_the_trigram_table_of_the_same_bytes():
    (study,) = studies(PROFILES["full"], ("shakespeare",), ("adamw",), "cpu", 1)
    text, budget = plays.load(), study.budget
    train = windows(tensor_of(text["train"]), budget.steps * budget.batch, 0).numpy()
    table = trigram_bits(train, windows(tensor_of(text["test"]), 512, 0).numpy())
    setting = {**study.space("adamw").recommended(), "lr": 3e-3}
    run = execute(study.job("adamw", setting, 0, "final"), study.workload)
    assert math.isfinite(table)
    assert run.test < table - 0.1
