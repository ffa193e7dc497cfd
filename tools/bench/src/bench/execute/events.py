"""The interface of an executor, and the events it reports."""

from dataclasses import dataclass
from typing import Protocol

from bench.protocol.job import Job
from bench.records.models import Run


class RunFailedError(RuntimeError):
    """A run raised an error, or its process died twice."""


class OwnTaskFailedError(RunFailedError):
    """A run of the user's own task raised an error of the user's code."""


@dataclass(frozen=True)
class Advanced:
    """A run is under way."""

    job: Job
    share: float
    value: float | None


@dataclass(frozen=True)
class Done:
    """A run is finished; its record is complete."""

    job: Job
    run: Run


@dataclass(frozen=True)
class Lost:
    """A run's process died, killed or out of memory."""

    job: Job
    reason: str


@dataclass(frozen=True)
class Failed:
    """A run raised an error; in the user's own task it is the user's to mend."""

    job: Job
    reason: str
    users: bool = False


Event = Advanced | Done | Lost | Failed


class Executor(Protocol):
    """Runs jobs somewhere."""

    slots: int

    def submit(self, job: Job) -> None:
        """Starts a job; call it only while fewer than ``slots`` are under way."""
        ...

    def wait(self, seconds: float) -> list[Event]:
        """What happened, after at most ``seconds``."""
        ...

    def close(self) -> None:
        """Ends everything, finished or not."""
        ...
