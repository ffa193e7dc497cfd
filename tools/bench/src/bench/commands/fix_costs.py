"""Writes the cost of a run to the repository, from records. For maintainers."""

import json
import statistics
from pathlib import Path

from bench.protocol.plan import speed_here
from bench.records.models import Run
from bench.records.store import read_many


def fix(records: list[Path]) -> None:
    """Merges into costs.json what the records tell."""
    path = Path(__file__).parents[1] / "protocol" / "costs.json"
    known = json.loads(path.read_text(encoding="utf-8"))
    costs = costs_of([record for record in read_many(records) if isinstance(record, Run)], speed_here())
    content = {**known, "seconds": dict(sorted((known["seconds"] | costs).items()))}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def costs_of(runs: list[Run], speed: float) -> dict[str, dict[str, float]]:
    """Median CPU seconds of a run, by profile and workload, by entry.

    ``speed`` is this machine's time over that of the machine whose costs are known: new ones join the old in its unit.
    """
    taken: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        if run.profile != "compare" and run.role != "tune":
            place = f"{run.profile}/{run.config.workload}/{run.config.family}"
            taken.setdefault(place, {}).setdefault(run.config.entry, []).append(run.cost.total_cpu)
    return {
        place: {entry: round(statistics.median(seconds) / speed, 3) for entry, seconds in entries.items()}
        for place, entries in taken.items()
    }
