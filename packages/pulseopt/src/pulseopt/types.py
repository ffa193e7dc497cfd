"""The records that controllers, managers and optimizers hand to each other."""

from dataclasses import dataclass, field

from pulseopt._checks import check


@dataclass(frozen=True)
class CandidateConfig:
    """One candidate: a factor on the learning rate and a deviation of gradient noise.

    Args:
        name: not empty; what logs call it.
        lr_multiplier: factor on every group's learning rate, above 0 and finite.
        noise_std: standard deviation of the noise on each gradient entry, in the gradient's unit, finite.

    Raises:
        ValueError: a field lies outside its range.
    """

    name: str
    lr_multiplier: float = 1.0
    noise_std: float = 0.0

    def __post_init__(self) -> None:
        """Validates the fields."""
        if not self.name:
            raise ValueError("Candidate config name must be a non-empty string.")
        if self.lr_multiplier <= 0.0:
            raise ValueError("lr_multiplier must be positive.")
        if self.noise_std < 0.0:
            raise ValueError("noise_std must be non-negative.")
        check("lr_multiplier", self.lr_multiplier, "(0, inf)")
        check("noise_std", self.noise_std, "[0, inf)")

    @property
    def grad_noise_std(self) -> float:
        """The noise deviation under its older name."""
        return self.noise_std

    @property
    def weight_decay_multiplier(self) -> float:
        """Always 1: weight decay is the optimizer's own."""
        return 1.0


@dataclass(frozen=True)
class StructuredSelection:
    """The pair of candidates that one episode runs with, and the context it was chosen in.

    ``context_bucket_id``, ``context_bucket_name`` (releases 0.1) and ``context_bucket`` (releases 0.2 and 0.3) are
    three names of one thing; the first one given fills the others.
    """

    lr_index: int
    noise_index: int
    lr_value: float
    noise_value: float
    combined_name: str
    context_bucket_id: str | None = None
    context_bucket_name: str | None = None
    context_trend: str | None = None
    context_phase: str | None = None
    context_bucket: str | None = None

    def __post_init__(self) -> None:
        """Copies the bucket to all its names."""
        bucket = self.context_bucket_id or self.context_bucket_name or self.context_bucket
        for name in ("context_bucket_id", "context_bucket_name", "context_bucket"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, bucket)


@dataclass(frozen=True)
class EpisodeSummary:
    """A closed episode: what it ran with, its losses, and, once scored, its reward in parts.

    Losses and their averages are in units of the loss; rewards are pure numbers, higher is better.
    ``ema_abs_loss_delta`` is the mean absolute change from one loss to the next; ``mean_alignment``, where it was
    measured, Q of equation (20), in [-1, 1].
    """

    episode_index: int
    mode_id: int
    mode_name: str
    start_step: int
    end_step: int
    steps: int
    loss_start: float
    loss_end: float
    ema_abs_loss_delta: float
    ema_loss_start: float | None = None
    ema_loss_end: float | None = None
    step_losses: tuple[float, ...] = field(default_factory=tuple)
    reward: float | None = None
    mean_update_norm: float | None = None
    reward_base: float | None = None
    reward_instability: float | None = None
    reward_penalty: float | None = None
    reward_final_unclipped: float | None = None
    reward_final_clipped: float | None = None
    mean_alignment: float | None = None
