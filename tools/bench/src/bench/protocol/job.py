"""A job for a worker: the configuration of a run, and its purpose."""

from dataclasses import dataclass

from bench.records.models import Config, Role


@dataclass(frozen=True)
class Job:
    """What a worker gets: a config, and what it is for."""

    config: Config
    role: Role
    profile: str
    workers: int = 1
    task_path: str = ""  # the user's file, for `bench compare`
