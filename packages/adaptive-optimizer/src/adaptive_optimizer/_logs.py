"""A bounded record of the steps: one dictionary each, as JSON lines, or to a TensorBoard writer as they happen."""

import json
from collections import deque
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

Record = dict[str, Any]


class Writer(Protocol):
    """The part of ``torch.utils.tensorboard.SummaryWriter`` that is used."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> Any:
        """Records one number."""


class Logs:
    """The newest ``limit`` records."""

    def __init__(self, limit: int, writer: Writer | None) -> None:
        self.limit = limit
        self._records: deque[Record] = deque(maxlen=limit)
        self._writer = writer

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out the writer, which holds an open file."""
        return {**self.__dict__, "_writer": None}

    @property
    def wanted(self) -> bool:
        """Whether anyone would see a record."""
        return self.limit > 0 or self._writer is not None

    def add(self, record: Record) -> None:
        """Keeps ``record``; the writer gets its numbers."""
        self._records.append(record)
        if self._writer is not None:
            for name, value in record.items():
                if name != "step" and isinstance(value, int | float):
                    self._writer.add_scalar(f"adaptive_optimizer/{name}", value, record["step"])

    def records(self) -> list[Record]:
        """Returns a copy of the records, oldest first."""
        return [dict(record) for record in self._records]

    def save(self, path: str | Path) -> None:
        """Writes the records as JSON lines, one step a line; a number that is not finite becomes null."""
        lines = [json.dumps({k: _finite(v) for k, v in each.items()}, allow_nan=False) + "\n" for each in self._records]
        Path(path).write_text("".join(lines), encoding="utf-8")


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value
