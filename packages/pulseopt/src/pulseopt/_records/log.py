"""What the closed episodes were: a bounded table, one row an episode."""

import json
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# A column's name, and where its value stands: in the summary, in the selection, and there in its context.
REWARD_PARTS = (
    "reward_base",
    "reward_instability",
    "reward_penalty",
    "reward_final_unclipped",
    "reward_final_clipped",
)
SUMMARY_COLUMNS = {
    "episode_rewards": "reward",
    "episode_start_steps": "start_step",
    "episode_end_steps": "end_step",
    "episode_start_losses": "loss_start",
    "episode_end_losses": "loss_end",
    "episode_ema_loss_starts": "ema_loss_start",
    "episode_ema_loss_ends": "ema_loss_end",
    **{name: name for name in REWARD_PARTS},
    "mean_update_norms": "mean_update_norm",
}
CHOSEN_COLUMNS = {
    "selected_lr_indices": "lr_index",
    "selected_noise_indices": "noise_index",
    "selected_lr_values": "lr_value",
    "selected_noise_values": "noise_value",
    "selected_combined_names": "combined_name",
}
CONTEXT_COLUMNS = {
    "context_bucket_ids": "context_bucket_id",
    "context_bucket_names": "context_bucket_name",
    "context_trends": "context_trend",
    "context_phases": "context_phase",
    "context_buckets": "context_bucket",
}


class EpisodeLog:
    """Columns of equal length that keep the newest rows.

    Args:
        columns: their names.
        limit: how many rows are kept; None keeps all.
    """

    def __init__(self, columns: Sequence[str], limit: int | None) -> None:
        self._columns: dict[str, deque[object]] = {name: deque(maxlen=limit) for name in columns}

    def append(self, row: Mapping[str, object]) -> None:
        """Add a row; the oldest makes room where the limit is reached."""
        for name, column in self._columns.items():
            column.append(row[name])

    def columns(self) -> dict[str, list[object]]:
        """Return copies of the columns."""
        return {name: list(column) for name, column in self._columns.items()}

    def load(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Take the newest rows of a saved table.

        Raises:
            ValueError: it has other columns; nothing has been changed.
        """
        if set(columns) != set(self._columns):
            raise ValueError(f"the saved log must have the columns {sorted(self._columns)}, got {sorted(columns)}")
        for name, values in columns.items():
            self._columns[name] = deque(values, maxlen=self._columns[name].maxlen)

    def save(self, path: str | Path) -> None:
        """Write one JSON object a line, oldest episode first."""
        names = list(self._columns)
        rows = zip(*self._columns.values(), strict=True)
        lines = [json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows]
        Path(path).write_text("".join(lines), encoding="utf-8")
