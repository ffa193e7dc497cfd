"""N processes of this machine, one thread each. A process that dies takes its one run with it and is replaced."""

import multiprocessing
import signal
import traceback
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from bench.execute.events import Advanced, Done, Event, Failed, Lost
from bench.protocol.job import Job
from bench.workloads.task_file import TaskError, folders_hidden


@dataclass
class Worker:
    """A process and the pipe to it; ``job`` is what it is doing."""

    process: BaseProcess
    pipe: "Connection[Job | None, tuple[str, Any]]"
    job: Job | None = None


class LocalExecutor:
    """The default executor."""

    def __init__(self, workers: int) -> None:
        """Starts ``workers`` processes; they import torch while the parent goes on."""
        self.slots = workers
        self._context = multiprocessing.get_context("spawn")
        self._workers = [self._start() for _ in range(workers)]
        self._early: deque[Event] = deque()

    def _start(self) -> Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        with folders_hidden():
            process.start()
        theirs.close()
        return Worker(process, ours)

    def submit(self, job: Job) -> None:
        """Hands the job to a free process."""
        worker = next(worker for worker in self._workers if worker.job is None)
        worker.job = job
        try:
            worker.pipe.send(job)
        except (BrokenPipeError, OSError):
            self._early.append(self._bury(worker))

    def wait(self, seconds: float) -> list[Event]:
        """Collects what the processes say, for at most ``seconds``."""
        if self._early:
            return [self._early.popleft()]
        events: list[Event] = []
        ready = wait([worker.pipe for worker in self._workers], timeout=seconds)
        for worker in list(self._workers):
            if worker.pipe in ready:
                event = self._read(worker)
                if event is not None:
                    events.append(event)
        return events

    def _read(self, worker: Worker) -> Event | None:
        try:
            kind, content = worker.pipe.recv()
        except (EOFError, OSError):
            return self._bury(worker)
        job = worker.job
        if job is None:
            return None
        if kind == "advanced":
            return Advanced(job, *content)
        worker.job = None
        return Done(job, content) if kind == "done" else Failed(job, str(content), users=kind == "slip")

    def _bury(self, worker: Worker) -> Event:
        """Replaces a dead process and tells which run died with it."""
        worker.process.join(timeout=5)
        code, job = worker.process.exitcode, worker.job
        worker.pipe.close()
        self._workers[self._workers.index(worker)] = self._start()
        if job is None:
            raise RuntimeError(f"a worker process ended with exit code {code} before it was given anything to do")
        return Lost(job, f"its process ended with exit code {code}")

    def close(self) -> None:
        """Ends all processes."""
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(timeout=5)
            worker.pipe.close()


def _serve(pipe: "Connection[tuple[str, Any], Job | None]") -> None:
    """The life of a worker process. Ctrl-C is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    from bench.execute.work import warm_up, work

    warm_up()
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        if job is None:
            return
        try:
            run = work(job, lambda share, value: pipe.send(("advanced", (share, value))))
            pipe.send(("done", run))
        except BrokenPipeError:
            return
        except TaskError as error:
            pipe.send(("slip", str(error)))
        except Exception:  # whatever went wrong belongs to this run and is told to the user
            pipe.send(("failed", traceback.format_exc()))
