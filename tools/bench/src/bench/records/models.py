"""The records of a benchmark: one JSON line per finished run, per selection made in tuning, and per session.

A run is identified by the hash of its `Config`, so that a rerun repeats nothing finished and two machines' files can
be joined. Every record carries a digest of its own content: a number edited by hand is found out on reading.
"""

import hashlib
import json
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    model_serializer,
    model_validator,
)

PROTOCOL = 2  # a box searched in two stages, the schedule a knob; 1 was a grid of rates
Value = float | int | str | bool
Role = Literal["tune", "final", "untuned", "rate", "fresh", "compare"]
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
    LATER: ClassVar[frozenset[str]] = frozenset()  # fields left out where None

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        return {name: value for name, value in content.items() if value is not None or name not in self.LATER}


class Config(Frozen):
    """Everything a run's numbers depend on, apart from the code and the machine."""

    LATER = frozenset({"version"})
    workload: str
    family: Family
    budget: dict[str, int]  # steps, batch, evals
    entry: Entry  # a method
    params: dict[str, Value]
    seed: int
    device: str = "cpu"
    data: dict[str, str] = {}  # source to the start of its checksum
    task: str = ""  # checksum of the user's file, for `bench compare`
    protocol: int = PROTOCOL
    version: int | None = None  # of the workload; raised when the same budget would no longer mean the same task

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
        """Refuses a run whose config was changed after it was made."""
        if self.key != self.config.key:
            raise ValueError(f"the run's key is {self.key}, its config hashes to {self.config.key}")
        return self


class Trial(Frozen):
    """One setting tried in tuning, and what it gave on each tuning seed (validation; None is a divergence)."""

    LATER = frozenset({"stage"})
    params: dict[str, Value]
    values: list[float | None]
    stage: int | None = None  # 1: a quarter of the length, two seeds; 2: full length, all tuning seeds


class Selection(Sealed):
    """What tuning chose for one entry on one workload, and everything the choice rests on."""

    LATER = frozenset(
        {"protocol", "short_budget", "rates", "rate_seeds", "margin", "documented", "follows", "fresh_seeds"}
    )
    kind: Literal["selection"] = "selection"
    profile: str
    workload: str
    family: Family
    entry: Entry
    budget: dict[str, int]
    better: Literal["higher", "lower"]
    metric: str
    target: None = None  # the reference's tuning runs fix it: see bench.report.analysis
    trials: list[Trial]
    tuning_seeds: list[int]
    final_seeds: list[int]
    untuned_seeds: list[int]
    chosen: dict[str, Value]
    untuned: dict[str, Value]
    widened: bool  # its box was, by a decade
    edge: bool  # the best still lies on the edge
    protocol: int | None = None
    short_budget: dict[str, int] | None = None  # of stage 1
    rates: list[float] | None = None  # factors on the chosen rate at which it was run as well
    rate_seeds: list[int] | None = None
    margin: float | None = None  # the smallest difference that matters, in the metric's unit
    documented: bool | None = None  # point 0 entered stage 2 whatever stage 1 made of it; None: by its rank alone
    follows: str | None = None  # an ablation: whose chosen setting it runs with
    fresh_seeds: list[int] | None = None  # that judge its claims once more

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
