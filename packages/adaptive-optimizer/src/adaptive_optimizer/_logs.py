"""A bounded log of the steps, for JSON lines, a TensorBoard writer or a notebook."""

import base64
import html
import io
import json
from collections import deque
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

Record = dict[str, Any]


class Writer(Protocol):
    """The part of ``torch.utils.tensorboard.SummaryWriter`` that is used."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> Any:
        """Records one number."""


class Logs:
    """The newest ``limit`` records.

    Args:
        columns: the names in each record, the first of them "step".
        limit: records that are kept.
        writer: gets the numbers of each record as they come.
    """

    def __init__(self, columns: Sequence[str], limit: int, writer: Writer | None) -> None:
        self.limit = limit
        self._columns = tuple(columns)
        self._rows: deque[tuple[Any, ...]] = deque(maxlen=limit)
        self._writer = writer

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out the writer, which holds an open file."""
        return {**self.__dict__, "_writer": None}

    @property
    def wanted(self) -> bool:
        """Returns whether records are kept or written."""
        return self.limit > 0 or self._writer is not None

    def add(self, *row: Any) -> None:
        """Adds one record, a value for each column; the writer receives its numbers."""
        self._rows.append(row)
        if self._writer is not None:
            for name, value in zip(self._columns[1:], row[1:], strict=True):
                if isinstance(value, int | float):
                    self._writer.add_scalar(f"adaptive_optimizer/{name}", value, row[0])

    def records(self) -> list[Record]:
        """Returns the records, oldest first."""
        return [dict(zip(self._columns, row, strict=True)) for row in self._rows]

    def save(self, path: str | Path) -> None:
        """Writes the records as JSON lines, one step a line; a number that is not finite becomes null."""
        records = [{name: _finite(value) for name, value in record.items()} for record in self.records()]
        lines = [json.dumps(record, allow_nan=False) + "\n" for record in records]
        Path(path).write_text("".join(lines), encoding="utf-8")


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value


def as_html(title: str, values: Mapping[str, object], records: Sequence[Mapping[str, Any]]) -> str:
    """Returns a table of ``values`` under ``title``, and the picture of ``records`` where there are any."""
    cells = "".join(f"<tr><th>{html.escape(name)}</th><td>{_shown(value)}</td></tr>" for name, value in values.items())
    return f"<div><strong>{html.escape(title)}</strong><table>{cells}</table>{_picture(records)}</div>"


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else html.escape(str(value))


def _picture(records: Sequence[Mapping[str, Any]]) -> str:
    if not records or find_spec("matplotlib") is None:
        return ""
    from adaptive_optimizer.plot import draw  # runs as a program too, and so is not imported with the package

    picture = io.BytesIO()
    draw(records, picture)
    encoded = base64.b64encode(picture.getvalue()).decode("ascii")
    return f'<img alt="signals, learning rate and factors over steps" src="data:image/png;base64,{encoded}">'
