"""Plots saved logs: ``python -m adaptive_optimizer.plot logs.jsonl out.png`` (extra ``plot``)."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["draw", "read_logs"]

Records = Sequence[Mapping[str, Any]]
FIXED = ("step", "loss", "reward", "lr", "lr_factor")


def read_logs(path: str | Path) -> list[dict[str, Any]]:
    """Returns the records that ``save_logs`` wrote.

    Args:
        path: a file of JSON lines.

    Returns:
        One dictionary for each step.
    """
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines() if line]


def draw(records: Records, path: str | Path | BinaryIO) -> None:
    """Plots signals, learning rate and factors over steps.

    Args:
        records: the result of ``get_logs`` or ``read_logs``.
        path: the image to write, such as ``"run.png"`` or ``"run.svg"``; a binary file receives a PNG.

    Raises:
        ModuleNotFoundError: matplotlib is missing; ``pip install "adaptive-optimizer[plot]"`` installs it.
        ValueError: there are no records.
    """
    if not records:
        raise ValueError("records must not be empty, got none; make a step first, or raise log_limit")
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(9, 8), layout="constrained")
    signals, rates, factors = figure.subplots(3, 1, sharex=True)
    _lines(signals, records, ["loss", "reward"])
    _lines(rates, records, ["lr"] if any(record.get("lr") is not None for record in records) else ["lr_factor"])
    _lines(factors, records, [name for name in records[-1] if name not in FIXED] or ["lr_factor"])
    rates.set_yscale("log")
    factors.set_yscale("log")
    factors.set_xlabel("step")
    figure.savefig(path, dpi=120)


def _lines(axes: Any, records: Records, names: list[str]) -> None:
    for name in names:
        points = [(record["step"], record[name]) for record in records if record.get(name) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), label=name, linewidth=1)
    if axes.lines:
        axes.legend(loc="upper right", fontsize="small")
    axes.grid(alpha=0.3)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line: a file of JSON lines, and the image to write; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 2:
        sys.stderr.write("usage: python -m adaptive_optimizer.plot logs.jsonl out.png\n")
        return 2
    draw(read_logs(given[0]), given[1])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
