"""The table of closed episodes, one row each, and the curves written to a ``SummaryWriter``."""

import json
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pulseopt.reward import RewardDetails

# Column → field: of the summary, of the selection, of the selection's context.
SUMMARY_COLUMNS = {
    "episode_rewards": "reward",
    "episode_start_steps": "start_step",
    "episode_end_steps": "end_step",
    "episode_start_losses": "loss_start",
    "episode_end_losses": "loss_end",
    "episode_ema_loss_starts": "ema_loss_start",
    "episode_ema_loss_ends": "ema_loss_end",
    **{name: name for name in RewardDetails.__dataclass_fields__},
    "mean_update_norms": "mean_update_norm",
}
CHOSEN_COLUMNS = {
    "selected_lr_indices": "lr_index",
    "selected_noise_indices": "noise_index",
    "selected_lr_values": "lr_value",
    "selected_noise_values": "noise_value",
    "selected_combined_names": "combined_name",
}
SEARCH_COLUMNS = (
    "selected_lr_values",
    "selected_noise_values",
    "selected_combined_names",
    "search_phases",
    "mean_alignments",
)
CONTEXT_COLUMNS = {
    "context_bucket_ids": "context_bucket_id",
    "context_bucket_names": "context_bucket_name",
    "context_trends": "context_trend",
    "context_phases": "context_phase",
    "context_buckets": "context_bucket",
}


SCALARS = {
    "reward": "episode_rewards",
    "lr_multiplier": "selected_lr_values",
    "noise_std": "selected_noise_values",
    "loss": "episode_end_losses",
    "update_norm": "mean_update_norms",
}


def write_scalars(writer: Any, row: Mapping[str, Any]) -> None:
    """Writes a closed episode to a ``SummaryWriter``, at the step it ended with."""
    for tag, column in SCALARS.items():
        if row[column] is not None:
            writer.add_scalar(f"pulseopt/{tag}", row[column], row["episode_end_steps"])


class EpisodeLog:
    """Columns of equal length that keep the newest rows.

    Args:
        columns: their names.
        limit: how many rows are kept; None keeps all.
    """

    def __init__(self, columns: Sequence[str], limit: int | None) -> None:
        self._columns: dict[str, deque[object]] = {name: deque(maxlen=limit) for name in columns}

    def append(self, row: Mapping[str, object]) -> None:
        """Adds a row; beyond the limit the oldest one is dropped."""
        for name, column in self._columns.items():
            column.append(row[name])

    def columns(self) -> dict[str, list[object]]:
        """Returns copies of the columns."""
        return {name: list(column) for name, column in self._columns.items()}

    def load(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Replaces the table by the newest rows of a saved one.

        Raises:
            ValueError: it has other columns; nothing has been changed.
        """
        if set(columns) != set(self._columns):
            raise ValueError(f"the saved log must have the columns {sorted(self._columns)}, got {sorted(columns)}")
        for name, values in columns.items():
            self._columns[name] = deque(values, maxlen=self._columns[name].maxlen)

    def save(self, path: str | Path) -> None:
        """Writes one JSON object a line, oldest episode first."""
        names = list(self._columns)
        rows = zip(*self._columns.values(), strict=True)
        lines = [json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows]
        Path(path).write_text("".join(lines), encoding="utf-8")
