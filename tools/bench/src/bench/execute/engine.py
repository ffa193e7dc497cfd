"""Runs studies: passes jobs to the executor, writes each finished run at once, and repeats none."""

from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field

from bench.execute.events import Advanced, Done, Event, Executor, Failed, Lost, OwnTaskFailedError, RunFailedError
from bench.protocol.job import Job
from bench.protocol.study import Need, Runs, Study
from bench.records.models import Run, Selection
from bench.records.store import Store


class View:
    """Sees what happens; the progress display overrides it."""

    def found(self, study: Study, job: Job, run: Run) -> None:
        """A run was in the record file already."""

    def advanced(self, event: Advanced) -> None:
        """A run is under way."""

    def finished(self, study: Study, job: Job, run: Run) -> None:
        """A run was made and written."""

    def selected(self, study: Study, selection: Selection) -> None:
        """Tuning has chosen."""

    def lost(self, event: Lost) -> None:
        """A run died and will be made again."""

    def tick(self) -> None:
        """A moment has passed."""


@dataclass
class Active:
    """A study under way and the runs it still waits for."""

    study: Study
    steps: Generator[Need, Runs, None]
    waiting: set[str] = field(default_factory=set[str])
    got: dict[str, Run] = field(default_factory=dict[str, Run])
    ready: deque[Job] = field(default_factory=deque[Job])
    finished: bool = False


class Engine:
    """Drives studies over one store and one executor."""

    def __init__(self, store: Store, executor: Executor, view: View) -> None:
        self.store, self.executor, self.view = store, executor, view
        self.made = self.found = 0
        self._active: list[Active] = []
        self._running: dict[str, Job] = {}
        self._lost: dict[str, int] = {}

    def run(self, studies: Iterable[Study]) -> None:
        """Runs all studies; a later one starts as soon as an earlier one leaves a process idle.

        Raises:
            RunFailedError: a run failed; everything finished before it is kept.
        """
        rest = deque(studies)
        while True:
            self._fill(rest)
            if not self._running:
                return
            for event in self.executor.wait(0.5):
                self._handle(event)
            self.view.tick()

    def _fill(self, rest: deque[Study]) -> None:
        while len(self._running) < self.executor.slots:
            job = self._next_job(rest)
            if job is None:
                return
            self._running[job.config.key] = job
            self.executor.submit(job)

    def _next_job(self, rest: deque[Study]) -> Job | None:
        while True:
            for active in self._active:
                if active.ready:
                    return active.ready.popleft()
            if not rest:
                return None
            study = rest.popleft()
            active = Active(study, study.go())
            self._active.append(active)
            self._advance(active)

    def _advance(self, active: Active) -> None:
        """Lets a study go on with what it waited for, until it needs runs that are not there."""
        while not active.finished and not active.waiting:
            try:
                need = active.steps.send(active.got) if active.got else next(active.steps)
            except StopIteration:
                active.finished = True
                self._active.remove(active)
                return
            active.got = {}
            for selection in need.selections:
                if self.store.selections.get(selection.name) != selection.seal():
                    self.store.append(selection)
                self.view.selected(active.study, selection)
            for job in need.jobs:
                self._want(active, job)

    def _want(self, active: Active, job: Job) -> None:
        key = job.config.key
        if key in active.got or key in active.waiting:
            return
        run = self.store.runs.get(key)
        if run is not None and (job.role == "tune" or run.test is not None or run.status == "diverged"):
            active.got[key] = run
            self.found += 1
            self.view.found(active.study, job, run)
            return
        active.waiting.add(key)
        active.ready.append(job)

    def _handle(self, event: Event) -> None:
        key = event.job.config.key
        if isinstance(event, Advanced):
            self.view.advanced(event)
            return
        del self._running[key]
        active = next(active for active in self._active if key in active.waiting)
        if isinstance(event, Failed):
            kind = OwnTaskFailedError if event.users else RunFailedError
            raise kind(f"{event.job.config.workload}, {event.job.config.entry}: {event.reason}")
        if isinstance(event, Lost):
            self._lost[key] = self._lost.get(key, 0) + 1
            if self._lost[key] > 1:
                raise RunFailedError(f"{event.job.config} died twice, last because {event.reason}")
            active.ready.appendleft(event.job)
            self.view.lost(event)
            return
        self._finish(active, event)

    def _finish(self, active: Active, event: Done) -> None:
        self.store.append(event.run)
        self.made += 1
        active.waiting.discard(event.run.key)
        active.got[event.run.key] = event.run
        self.view.finished(active.study, event.job, event.run)
        self._advance(active)
