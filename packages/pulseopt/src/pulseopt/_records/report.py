"""What a controller tells people: one line for a terminal, curves for TensorBoard."""

from collections.abc import Mapping
from typing import Any

from pulseopt.episode import StructuredEpisodeManager

_SCALARS = {
    "reward": "episode_rewards",
    "lr_multiplier": "selected_lr_values",
    "noise_std": "selected_noise_values",
    "loss": "episode_end_losses",
    "update_norm": "mean_update_norms",
}


def write_scalars(writer: Any, row: Mapping[str, Any]) -> None:
    """Hand a closed episode to a ``SummaryWriter`` at the step it ended with."""
    for tag, column in _SCALARS.items():
        if row[column] is not None:
            writer.add_scalar(f"pulseopt/{tag}", row[column], row["episode_end_steps"])


def estimates(manager: StructuredEpisodeManager) -> str:
    """Return each controller's estimate of each of its arms: ``lr: lr0.5=+0.12 lr1=-0.03``."""
    lines: list[str] = []
    for name, controller in manager.controllers.items():
        state: dict[str, Any] = dict(controller.get_state())
        state = state.get("global_prior_state", state)
        means, plays = state.get("mean_rewards"), state.get("warmup_counts")
        arms = manager.arm_names(name)
        if means is None or plays is None:
            lines.append(f"{name}: " + " ".join(arms))
            continue
        known = zip(arms, means, plays, strict=True)
        lines.append(f"{name}: " + " ".join(f"{arm}={mean:+.3f}" if n else f"{arm}=?" for arm, mean, n in known))
    return "; ".join(lines) if lines else "nothing to choose"
