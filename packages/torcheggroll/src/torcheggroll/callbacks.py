"""What to do with each step's diagnostics: append them to a file, or hand them to TensorBoard."""

import json
import math
from pathlib import Path
from typing import Any

from .diagnostics import Diagnostics


class JSONLines:
    """Appends one line of JSON per step; a crash loses nothing that was written.

    Args:
        path: file to append to; its folder must exist. Numbers that are not finite become null.
    """

    def __init__(self, path: str | Path) -> None:
        self.path: Path = Path(path)

    def __call__(self, diagnostics: Diagnostics) -> None:
        """Appends one step."""
        row = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in diagnostics.as_dict().items()
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


class TensorBoard:
    """Writes every number as a scalar.

    Args:
        writer: a ``torch.utils.tensorboard.SummaryWriter``, or anything with its ``add_scalar``.
        prefix: put before each name.
    """

    def __init__(self, writer: Any, prefix: str = "es/") -> None:
        self.writer = writer
        self.prefix = prefix

    def __call__(self, diagnostics: Diagnostics) -> None:
        """Writes one step."""
        for name, value in diagnostics.as_dict().items():
            if name != "epoch" and not isinstance(value, str):
                self.writer.add_scalar(self.prefix + name, value, diagnostics.epoch)
