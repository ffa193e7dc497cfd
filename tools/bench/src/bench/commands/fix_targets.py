"""Fix targets and run costs in the repository, from records of the tuned references. For maintainers.

A target is the median over final seeds of what the tuned reference (AdamW; evolution: OpenAI-ES) has reached on
validation after 70 % of its steps, rounded to three digits. It is fixed before anybody else is looked at.
"""

import json
import statistics
from pathlib import Path

from bench.names import refuse_unknown
from bench.protocol.plan import speed_here
from bench.records.models import Run
from bench.records.store import read_many
from bench.report.analysis import analyse
from bench.report.results import WorkloadResult

SHARE = 0.7


def fix(records: list[Path], what: str) -> int:
    """Merges into targets.json and costs.json what the records tell.

    Raises:
        ValueError: ``what`` is unknown.
    """
    refuse_unknown("what", [what], ("targets", "costs", "both"))
    found = read_many(records)
    here = Path(__file__).parents[1] / "protocol"
    if what != "costs":
        path = here / "targets.json"
        fixed = json.loads(path.read_text(encoding="utf-8"))["targets"]
        fixed |= {name: target for result in analyse(found) for name, target in target_of(result).items()}
        path.write_text(json.dumps({"targets": dict(sorted(fixed.items()))}, indent=1) + "\n", encoding="utf-8")
    if what != "targets":
        path = here / "costs.json"
        known = json.loads(path.read_text(encoding="utf-8"))
        costs = costs_of([record for record in found if isinstance(record, Run)], speed_here())
        content = {**known, "seconds": dict(sorted((known["seconds"] | costs).items()))}
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


def target_of(result: WorkloadResult) -> dict[str, float]:
    """The target of one workload, from its reference alone."""
    reference = result.entry(result.reference)
    if reference is None or result.profile in ("smoke", "compare"):
        return {}
    curves = [run.curve for run in reference.finals.values()]
    values = [curve.value[max(0, round(SHARE * len(curve.value)) - 1)] for curve in curves if curve.value]
    return {f"{result.profile}/{result.workload}/{result.family}": float(f"{statistics.median(values):.3g}")}


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
