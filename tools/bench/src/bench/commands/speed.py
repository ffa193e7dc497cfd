"""`bench speed`."""

from pathlib import Path

from bench.commands.console import console
from bench.speed.run import run_all
from bench.speed.table import show


def speed(package: str | None, device: str, records: Path | None) -> int:
    """`bench speed`."""
    broken = measured = 0
    for rows in run_all(package, device, records):
        show(console, rows)
        broken += sum(row.holds is False for row in rows)
        measured += sum(row.holds is not None for row in rows)
    console.print(f"{measured} bars measured, {broken} do not hold")
    return 0
