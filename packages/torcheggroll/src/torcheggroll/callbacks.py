"""Callbacks for the diagnostics of each step: append them to a file, or write them to TensorBoard."""

import json
import math
from pathlib import Path
from typing import Any

from .diagnostics import Diagnostics


class JSONLines:
    """Appends one line of JSON per step, each written at once.

    Args:
        path: file to append to; its folder must exist. Non-finite numbers become null.

    Example:
        >>> import tempfile, torch
        >>> from pathlib import Path
        >>> from torcheggroll import TorchEggrollES
        >>> from torcheggroll.callbacks import JSONLines
        >>> es = TorchEggrollES(torch.nn.Linear(2, 1), pop_size=4, seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     es.callbacks.append(JSONLines(Path(folder) / "run.jsonl"))
        ...     population = es.ask()
        ...     mean = es.tell([1.0, 2.0, 1.0, 2.0])
        ...     len((Path(folder) / "run.jsonl").read_text().splitlines())
        1
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
    """Writes every number of a step as a scalar.

    Args:
        writer: a ``torch.utils.tensorboard.SummaryWriter``, or anything with its ``add_scalar``.
        prefix: prefix of each name.

    Example:
        >>> import torch
        >>> from torcheggroll import TorchEggrollES
        >>> from torcheggroll.callbacks import TensorBoard
        >>> class Writer:
        ...     def add_scalar(self, tag, value, step):
        ...         if tag == "es/fitness_mean":
        ...             print(tag, value, step)
        >>> es = TorchEggrollES(torch.nn.Linear(2, 1), pop_size=4, seed=0)
        >>> es.callbacks.append(TensorBoard(Writer()))
        >>> population = es.ask()
        >>> mean = es.tell([1.0, 2.0, 1.0, 2.0])
        es/fitness_mean 1.5 0
    """

    def __init__(self, writer: Any, prefix: str = "es/") -> None:
        self.writer = writer
        self.prefix = prefix

    def __call__(self, diagnostics: Diagnostics) -> None:
        """Writes one step."""
        for name, value in diagnostics.as_dict().items():
            if name != "epoch" and not isinstance(value, str):
                self.writer.add_scalar(self.prefix + name, value, diagnostics.epoch)
