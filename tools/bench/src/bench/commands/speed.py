"""`bench speed`."""

from pathlib import Path

from bench.commands.console import console
from bench.names import refuse_unknown
from bench.speed.run import find_cases, run_all
from bench.speed.table import show


def speed(package: str | None, device: str, records: Path | None) -> int:
    """`bench speed`."""
    refuse_unknown("device", [device], ("cpu", "cuda"))
    if package is not None:
        refuse_unknown("package", [package], dict.fromkeys(case.package for case in find_cases()))
    broken = measured = 0
    for rows in run_all(package, device, records):
        show(console, rows)
        broken += sum(row.holds is False for row in rows)
        measured += sum(row.holds is not None for row in rows)
    console.print(f"{measured} bars measured, {broken} do not hold")
    return 0
