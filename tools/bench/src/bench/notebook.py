"""The bench in a notebook: a comparison with a live table, whose result shows the answer and two plots.

In a cell::

    from bench.notebook import compare

    compare("my_task.py", steps=300)
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.commands import own_task
from bench.commands.session import default_folder
from bench.records.store import read_many
from bench.report.advice import advice
from bench.report.analysis import analyse
from bench.report.figures import forest, rates
from bench.report.results import WorkloadResult


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison; the folder holds its records, its tables and the whole report."""

    folder: Path
    answer: list[str]
    result: WorkloadResult

    @property
    def report(self) -> Path:
        """The whole report, a page for the browser."""
        return self.folder / "report.html"

    def __repr__(self) -> str:
        """Returns the answer, a sentence a line."""
        return "\n".join([*self.answer, f"report: {self.report}"])

    def _repr_html_(self) -> str:
        """Returns the answer, the sensitivity to the learning rate, and the differences on equal seeds."""
        first, *rest = map(html.escape, self.answer)
        lines = "".join(f"<li>{line}</li>" for line in rest)
        pictures = "".join(f"<div>{svg}</div>" for svg in (rates(self.result), forest(self.result)) if svg)
        link = f'<a href="{html.escape(self.report.as_posix())}">the whole report</a>'
        return f"<div><p><strong>{first}</strong></p><ul>{lines}</ul>{pictures}<p>{link}</p></div>"


def compare(
    task: str | Path,
    steps: int = 300,
    batch: int = 64,
    methods: Sequence[str] = (),
    seeds: int = 5,
    trials: int = 4,
    workers: int = 0,
    out: str | Path | None = None,
) -> Comparison:
    """Puts a task through the protocol, as `bench compare` does; a stopped one goes on when called again.

    Args:
        task: a Python file with a function ``task(seed)``.
        steps: optimizer steps of one run.
        batch: samples per step.
        methods: only these; empty is four of ours, AdamW, schedule-free AdamW, Lion and Muon.
        seeds: final seeds; fewer than five decide nothing.
        trials: settings tried per method.
        workers: processes; 0 is one per core.
        out: folder of records and report; None is ``outputs/bench/compare-<task>``.

    Raises:
        ValueError: the task, or a name, is wrong; the message says what to do.
        KeyboardInterrupt: it was stopped; everything finished is kept.
    """
    path = Path(task)
    folder = Path(out) if out is not None else default_folder(f"compare-{path.stem}")
    if own_task.compare(path, steps, batch, tuple(methods), seeds, trials, workers, folder, plain=False):
        raise KeyboardInterrupt
    result = next(found for found in analyse(read_many([folder / "records.jsonl"])) if found.workload == path.stem)
    return Comparison(folder, advice([result]), result)
