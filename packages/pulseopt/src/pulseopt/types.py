"""The records that controllers, managers and optimizers exchange."""

from dataclasses import dataclass, field

from pulseopt._checks import check


@dataclass(frozen=True)
class CandidateConfig:
    """One candidate: a factor on the learning rate and a deviation of gradient noise.

    Args:
        name: its name in logs, not empty.
        lr_multiplier: factor on every group's learning rate, above 0 and finite.
        noise_std: standard deviation of the noise on each gradient entry, in the gradient's unit, finite.

    Raises:
        ValueError: a field lies outside its range.

    >>> from pulseopt import CandidateConfig
    >>> CandidateConfig("half", lr_multiplier=0.5)
    CandidateConfig(name='half', lr_multiplier=0.5, noise_std=0.0)
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
        """Always 1, because weight decay is not a candidate."""
        return 1.0


@dataclass(frozen=True)
class StructuredSelection:
    """The pair of candidates that one episode runs with, and the context it was chosen in.

    Args:
        lr_index: position of the factor among ``lr_candidates``.
        noise_index: position of the deviation among ``noise_candidates``.
        lr_value: the factor on the learning rate.
        noise_value: the standard deviation of gradient noise, in the gradient's unit.
        combined_name: name of the pair in logs.
        context_bucket_id: the context, or None without contexts.
        context_bucket_name: another name of ``context_bucket_id``, as in release 0.1.
        context_trend: ``"improving"``, ``"stable"`` or ``"worsening"``.
        context_phase: ``"early"``, ``"middle"`` or ``"late"``.
        context_bucket: another name of ``context_bucket_id``, as in releases 0.2 and 0.3. Whichever of the three names
            is given fills the others.

    >>> from pulseopt import StructuredSelection
    >>> StructuredSelection(0, 0, 0.5, 0.0, "lr0p5_n0", context_bucket="stable").context_bucket_id
    'stable'
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
    """A closed episode: its candidate, its losses, and, once scored, its reward in parts.

    Losses and their averages are in units of the loss; rewards have no unit, and higher is better.

    Args:
        episode_index: number of the episode, from 0.
        mode_id: the arm played.
        mode_name: name of the candidate.
        start_step, end_step: the first and the last step.
        steps: how many steps were recorded.
        loss_start, loss_end: the first and the last loss.
        ema_abs_loss_delta: mean absolute change from one loss to the next.
        ema_loss_start, ema_loss_end: the moving average at the start and at the end, equation (4).
        step_losses: the loss of every step.
        reward: the reward; None before the episode is scored.
        mean_update_norm: mean norm of the updates, where it was measured.
        reward_base, reward_instability: b and v of equation (7).
        reward_penalty: λ v of equation (7).
        reward_final_unclipped, reward_final_clipped: the reward before and after clipping.
        mean_alignment: Q of equation (20), in [-1, 1], where it was measured.

    >>> from pulseopt import EpisodeSummary
    >>> EpisodeSummary(0, 0, "base", 0, 1, 2, loss_start=2.0, loss_end=1.0, ema_abs_loss_delta=1.0).reward is None
    True
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
