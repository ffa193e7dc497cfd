"""Runs on a Ray cluster, one task per run (extra ``ray``). The record file is the same."""

import importlib
from typing import Any

from bench.execute.events import Done, Event, Failed, Lost
from bench.methods.table import with_extra
from bench.protocol.job import Job
from bench.records.models import Run


class RayExecutor:
    """Each run is a Ray task of one CPU; progress inside a run is not reported."""

    def __init__(self, workers: int | None = None) -> None:
        """Joins the cluster that ``RAY_ADDRESS`` names, or starts a local one.

        Raises:
            ValueError: Ray is not installed.
        """
        try:
            ray: Any = importlib.import_module("ray")
        except ImportError:
            raise ValueError(f"executor ray needs Ray, which is not here: {with_extra('ray')}") from None
        self._ray = ray
        self._mine = not ray.is_initialized()
        if self._mine:
            ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
        self.slots = max(1, int(ray.cluster_resources().get("CPU", 1)))
        self._remote: Any = ray.remote(num_cpus=1, max_retries=0)(do)
        self._running: dict[Any, Job] = {}

    def submit(self, job: Job) -> None:
        """Sends the job to the cluster."""
        self._running[self._remote.remote(job)] = job

    def wait(self, seconds: float) -> list[Event]:
        """Runs that have ended."""
        if not self._running:
            return []
        ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=seconds)
        return [self._collect(reference) for reference in ready]

    def _collect(self, reference: Any) -> Event:
        job = self._running.pop(reference)
        try:
            run: Run = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            return Failed(job, str(error))
        except self._ray.exceptions.RayError as error:
            return Lost(job, str(error).splitlines()[0])
        return Done(job, run)

    def close(self) -> None:
        """Cancels what runs, leaves the cluster."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        if self._mine:
            self._ray.shutdown()


def do(job: Job) -> Run:
    """The task: a warm process would do without the warm-up, a fresh one must not charge it to the run."""
    from bench.execute.work import warm_up, work

    warm_up()
    return work(job)
