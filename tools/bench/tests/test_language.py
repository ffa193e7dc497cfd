from pathlib import Path

import numpy as np
import pytest
from bench.protocol.plan import studies
from bench.protocol.profiles import PROFILES
from bench.records.models import Run
from bench.records.store import read_many
from bench.tensors import tensor_of
from bench.workloads.data import plays
from bench.workloads.language import CONTEXT, windows

FULL = Path(__file__).parents[3] / "docs" / "records" / "bench" / "full.jsonl.gz"


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


@pytest.mark.skipif(not FULL.exists(), reason="needs the workspace's records")
def test_every_published_language_model_ends_below_the_trigram_table_of_the_same_bytes():
    runs = [record for record in read_many([FULL]) if isinstance(record, Run)]
    finals = [run for run in runs if run.config.workload == "shakespeare" and run.role == "final"]
    (study,) = studies(PROFILES["full"], ("shakespeare",), ("adamw",), "cpu", 1)
    text, budget = plays.load(), study.budget
    train = windows(tensor_of(text["train"]), budget.steps * budget.batch, 2000).numpy()
    table = trigram_bits(train, windows(tensor_of(text["test"]), 512, 0).numpy())
    assert {run.config.budget["steps"] for run in finals} == {budget.steps}
    assert len({run.config.entry for run in finals}) >= 3
    assert max(run.test for run in finals) < table - 0.1
