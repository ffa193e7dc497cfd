"""What a benchmark leaves behind: one JSON line per finished run, per choice made in tuning, per session.

A run is identified by the hash of its `Config`, so that a rerun repeats nothing finished and two machines' files can
be joined. Every record carries a digest of its own content: a number edited by hand is found out on reading.
"""

import hashlib
import json
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

PROTOCOL = 1  # raise it when a run of equal config would no longer give equal numbers
Value = float | int | str | bool
Role = Literal["tune", "final", "untuned", "compare"]
Family = Literal["gradient", "es"]
Entry = Annotated[str, Field(validation_alias=AliasChoices("entry", "arm"), serialization_alias="arm")]


def canonical(data: object) -> str:
    """JSON with sorted keys and no spaces: equal content, equal text."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def digest_of(data: object) -> str:
    """The first 16 hex digits of the canonical text's SHA-256."""
    return hashlib.sha256(canonical(data).encode()).hexdigest()[:16]


class Frozen(BaseModel):
    """A record part: no unknown keys, no later changes; NaN and infinity survive as strings."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings", serialize_by_alias=True)


class Config(Frozen):
    """Everything a run's numbers depend on, apart from the code and the machine."""

    workload: str
    family: Family
    budget: dict[str, int]  # steps, batch, evals
    entry: str = Field(
        validation_alias=AliasChoices("entry", "arm"), serialization_alias="arm"
    )  # a method; in records of protocol 1 also a method with "+cosine"
    params: dict[str, Value]
    seed: int
    device: str = "cpu"
    data: dict[str, str] = {}  # source to the start of its checksum
    task: str = ""  # checksum of the user's file, for `bench compare`
    protocol: int = PROTOCOL

    @property
    def key(self) -> str:
        """The run's identifier."""
        return digest_of(self.model_dump(mode="json"))


class Curve(Frozen):
    """Validation metric at each evaluation, with what it had cost until then."""

    step: list[int] = []
    samples: list[int] = []  # training samples, fitness samples or environment steps
    cpu: list[float] = []  # seconds of training, evaluation excluded
    loss: list[float] = []  # mean training loss since the last evaluation (ES: mean fitness)
    value: list[float] = []


class Cost(Frozen):
    """What the run took."""

    steps: int
    samples: int
    evaluations: int = 0  # fitness evaluations of an evolution strategy
    env_steps: int = 0
    train_cpu: float
    total_cpu: float
    wall: float
    state_bytes: int


class Machine(Frozen):
    """Where the run was made."""

    cpu: str
    cores: int
    threads: int
    load: float  # one-minute average at the end of the run
    workers: int
    versions: dict[str, str]
    revision: str
    time: str

    @property
    def busy(self) -> bool:
        """True when more was running than the cores could carry, beside this bench's own workers."""
        return self.load > max(self.cores, self.workers) + 0.75


class Sealed(Frozen):
    """A line of the file: content and its digest."""

    digest: str = ""

    def content_digest(self) -> str:
        """Digest of everything but the digest."""
        return digest_of(self.model_dump(mode="json", exclude={"digest"}))

    def seal(self) -> Self:
        """A copy that carries its digest."""
        return self.model_copy(update={"digest": self.content_digest()})


class Run(Sealed):
    """One training run, finished or diverged (which is a result)."""

    kind: Literal["run"] = "run"
    key: str
    role: Role
    profile: str
    config: Config
    status: Literal["finished", "diverged"]
    curve: Curve
    value: float | None  # validation metric at the end; None when diverged
    test: float | None  # evaluated once, at the end, never for tuning runs
    decisions: int | None = None  # of a controller; None for methods without one
    arms: dict[str, int] = {}
    trace: dict[str, list[float]] = {}
    cost: Cost
    machine: Machine

    @model_validator(mode="after")
    def key_is_the_hash(self) -> Self:
        """Refuse a run whose config was changed after it was made."""
        if self.key != self.config.key:
            raise ValueError(f"the run's key is {self.key}, its config hashes to {self.config.key}")
        return self


class Trial(Frozen):
    """One setting tried in tuning, and what it gave on each tuning seed (validation; None is a divergence)."""

    params: dict[str, Value]
    values: list[float | None]


class Selection(Sealed):
    """What tuning chose for one entry on one workload, and everything the choice rests on."""

    kind: Literal["selection"] = "selection"
    profile: str
    workload: str
    family: Family
    entry: Entry
    budget: dict[str, int]
    better: Literal["higher", "lower"]
    metric: str
    target: float | None  # validation value fixed beforehand; None where none is
    trials: list[Trial]
    tuning_seeds: list[int]
    final_seeds: list[int]
    untuned_seeds: list[int]
    chosen: dict[str, Value]
    untuned: dict[str, Value]
    widened: bool  # everyone got one more trial, because somebody's best lay on the edge
    edge: bool  # the best still lies on the edge

    @property
    def name(self) -> str:
        """Identifies the choice in a file; a later one replaces an earlier one."""
        return f"{self.profile}/{self.workload}/{self.family}/{self.entry}"


class Session(Sealed):
    """One call of `bench run`: what it announced and what it took."""

    kind: Literal["session"] = "session"
    profile: str
    estimate: float  # seconds of wall time announced before the start
    wall: float
    cpu: float  # seconds of the runs made in this session
    workers: int
    made: int  # runs made in this session
    found: int  # runs found finished
    complete: bool
    machine: Machine


Record = Run | Selection | Session
adapter: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="kind")])
