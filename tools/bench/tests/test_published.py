"""Published records, made again."""

from pathlib import Path

import pytest
from bench.commands.replay import make_again
from bench.methods.table import METHODS
from bench.records.machine import cpu_model, versions
from bench.records.models import Run
from bench.records.store import read_many
from bench.workloads.table import WORKLOADS, Workload

RECORDS = sorted((Path(__file__).parents[3] / "docs" / "records" / "bench").glob("*.jsonl.gz"))


def shortest() -> dict[str, Run]:
    """The cheapest record of each method, on workloads that need no extra."""
    found: dict[str, Run] = {}
    for run in read_many(RECORDS):
        if isinstance(run, Run) and not workload(run).extra:
            method = run.config.entry
            if method not in found or run.cost.total_cpu < found[method].cost.total_cpu:
                found[method] = run
    return found


def workload(run: Run) -> Workload:
    return WORKLOADS[run.config.workload]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what other packages warn of when they are imported
@pytest.mark.parametrize("method", sorted(shortest()))
def test_a_published_record_of_each_method_is_made_again_to_the_bit(method):
    run = shortest()[method]
    if not METHODS[method].available:
        pytest.skip(f"needs {METHODS[method].needs}")
    if run.machine.cpu != cpu_model() or run.machine.versions.get("torch") != versions().get("torch"):
        pytest.skip(f"recorded on {run.machine.cpu} with torch {run.machine.versions.get('torch')}")
    assert make_again(run) == []
