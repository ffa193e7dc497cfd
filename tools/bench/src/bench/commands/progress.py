"""Progress of a run: a live table with the time left, or plain lines without a terminal."""

import math
import time

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench.execute.engine import View
from bench.execute.events import Advanced, Lost
from bench.methods.table import METHODS, title
from bench.protocol.job import Job
from bench.protocol.plan import cpu_seconds, run_seconds
from bench.protocol.study import Study
from bench.records.models import Run, Selection
from bench.report.tables import clock


class Remaining:
    """The time left: what is left of the plan, at the pace seen since the first run was finished."""

    def __init__(self, studies: list[Study], speed: float, workers: int) -> None:
        self._speed, self._workers = speed, workers
        self.total = {self._name(study): cpu_seconds(study, study.expected_runs(), speed) for study in studies}
        self.done = dict.fromkeys(self.total, 0.0)
        self._planned = 0.0
        self._begin: float | None = None

    @staticmethod
    def _name(study: Study) -> str:
        return f"{study.workload.id}/{study.family}"

    def count(self, study: Study, job: Job, made: bool) -> None:
        """A run is done: made now, or found finished."""
        share = job.config.budget["steps"] / study.budget.steps
        planned = share * run_seconds(study, job.config.entry, self._speed)
        name = self._name(study)
        self.done[name] = min(self.total[name], self.done[name] + planned)
        if made and self._begin is None:  # the first run waited for its process to start
            self._begin = time.monotonic()
        elif made:
            self._planned += planned

    def share(self) -> float:
        """Share of the plan that is done."""
        return sum(self.done.values()) / max(1e-9, sum(self.total.values()))

    def seconds(self) -> float:
        """Wall seconds left; the pace is trusted more the more of it was seen."""
        trust = self._planned / (self._planned + 20)
        taken = 0.0 if self._begin is None else (time.monotonic() - self._begin) * self._workers
        pace = trust * (taken / self._planned) + 1 - trust if self._planned else 1.0
        return pace * (sum(self.total.values()) - sum(self.done.values())) / self._workers


class Lines(View):
    """One line per finished run, and one per choice: for logs and pipes."""

    def __init__(self, console: Console, remaining: Remaining, total_runs: int) -> None:
        self.console, self.remaining = console, remaining
        self._total, self._count = total_runs, 0
        self._begin = time.monotonic()

    def found(self, study: Study, job: Job, run: Run) -> None:
        """Counts it in silence."""
        self._count += 1
        self.remaining.count(study, job, made=False)

    def finished(self, study: Study, job: Job, run: Run) -> None:
        """One line."""
        self._count += 1
        self.remaining.count(study, job, made=True)
        outcome = "diverged" if run.value is None else f"{study.workload.metric} {run.value:.4g}"
        setting = " ".join(f"{name}={value}" for name, value in job.config.params.items())
        self.console.print(
            f"[{self._count}/{self._total}] {study.workload.id} {title(job.config.entry)} {job.role} {setting} "
            f"seed {job.config.seed}: {outcome}, {run.cost.total_cpu:.1f} s CPU, "
            f"{clock(self.remaining.seconds())} left",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )

    def selected(self, study: Study, selection: Selection) -> None:
        """One line."""
        note = ", on the edge of its grid" if selection.edge else ""
        self.console.print(
            f"  {study.workload.id}: {title(selection.entry)} tuned to {selection.chosen}{note}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )

    def lost(self, event: Lost) -> None:
        """Says it."""
        self.console.print(f"a run was lost ({event.reason}) and is made again", markup=False)


class Tally:
    """What the live table shows of one entry of one study."""

    def __init__(self) -> None:
        self.tuned = 0
        self.best: float | None = None
        self.chosen = ""
        self.final: list[float] = []
        self.diverged = 0


class LiveTable(View):
    """The live table of the study under way."""

    def __init__(self, console: Console, remaining: Remaining, total_runs: int) -> None:
        self.remaining, self._total, self._count = remaining, total_runs, 0
        self._tallies: dict[str, dict[str, Tally]] = {}
        self._studies: dict[str, Study] = {}
        self._current, self._begin = "", time.monotonic()
        self._running: dict[str, Advanced] = {}
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self._render)

    def __enter__(self) -> "LiveTable":
        """Takes the screen."""
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """Gives it back, the last table left on it."""
        self._live.__exit__(None, None, None)

    def _tally(self, study: Study, entry: str) -> Tally:
        name = f"{study.workload.id}/{study.family}"
        self._studies[name] = study
        return self._tallies.setdefault(name, {entry: Tally() for entry in study.entries})[entry]

    def found(self, study: Study, job: Job, run: Run) -> None:
        """Counts it."""
        self._add(study, job, run, made=False)

    def finished(self, study: Study, job: Job, run: Run) -> None:
        """Counts it, and shows its study."""
        self._current = f"{study.workload.id}/{study.family}"
        self._running.pop(run.key, None)
        self._add(study, job, run, made=True)

    def _add(self, study: Study, job: Job, run: Run, made: bool) -> None:
        self._count += 1
        self.remaining.count(study, job, made)
        tally = self._tally(study, job.config.entry)
        if run.value is None:
            tally.diverged += 1
        elif job.role == "tune":
            tally.tuned += 1
            sign = 1 if study.workload.better == "higher" else -1
            tally.best = run.value if tally.best is None else sign * max(sign * run.value, sign * tally.best)
        elif job.role == "final" and run.test is not None:
            tally.final.append(run.test)

    def selected(self, study: Study, selection: Selection) -> None:
        """Shows what tuning chose."""
        chosen = ", ".join(f"{name} {value}" for name, value in selection.chosen.items())
        self._tally(study, selection.entry).chosen = chosen + (" (edge)" if selection.edge else "")

    def advanced(self, event: Advanced) -> None:
        """Remembers how far a run is."""
        self._running[event.job.config.key] = event

    def lost(self, event: Lost) -> None:
        """Says it above the table."""
        self._running.pop(event.job.config.key, None)
        self._live.console.print(f"a run was lost ({event.reason}) and is made again", markup=False)

    def _render(self) -> Group:
        share = self.remaining.share()
        head = Text(
            f"{self._count} of about {self._total} runs, {clock(time.monotonic() - self._begin)} gone, "
            f"{clock(self.remaining.seconds())} left"
        )
        parts: list[Text | Table | ProgressBar] = [head, ProgressBar(total=1.0, completed=share, width=72)]
        if self._current:
            parts.append(self._entries(self._studies[self._current], self._tallies[self._current]))
        for event in list(self._running.values())[-2:]:
            value = "" if event.value is None else f", {event.value:.4g}"
            parts.append(Text(f"  running: {title(event.job.config.entry)}, {event.share:.0%}{value}", style="dim"))
        return Group(*parts)

    def _entries(self, study: Study, tallies: dict[str, Tally]) -> Table:
        table = Table(title=f"{study.name}: {study.workload.metric}, {study.workload.better} is better")
        for name in ("method", "tuning runs", "best so far", "chosen", "final seeds", "test, mean"):
            table.add_column(name, justify="left" if name in ("method", "chosen") else "right")
        for entry, tally in tallies.items():
            mean = math.fsum(tally.final) / len(tally.final) if tally.final else None
            table.add_row(
                title(entry),
                str(tally.tuned) + (f" ({tally.diverged} diverged)" if tally.diverged else ""),
                "" if tally.best is None else f"{tally.best:.4g}",
                tally.chosen,
                str(len(tally.final)),
                "" if mean is None else f"{mean:.4g}",
                style="bold" if METHODS[entry].ours else "",
            )
        return table
