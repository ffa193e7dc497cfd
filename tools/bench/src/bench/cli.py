"""`bench` and its commands. Torch is imported inside them, so that `--help` is instant."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None, help=__doc__)


@app.callback()
def main_callback() -> None:
    """Train real models on real data with all five methods beside tuned baselines, and report what was measured."""


@app.command("speed")
def speed_command(
    package: Annotated[str | None, typer.Option(help="Only this package's cases.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    records: Annotated[Path | None, typer.Option(help="Append JSON lines to this file.")] = None,
) -> None:
    """Time every package beside its peers: ratios within one process, peak memory, percent of pure inference."""
    from rich.console import Console

    from bench.speed.run import run_all
    from bench.speed.table import show

    console = Console()
    broken = 0
    for rows in run_all(package, device, records):
        show(console, rows)
        broken += sum(row.holds is False for row in rows)
    console.print(f"{broken} bars do not hold" if broken else "every bar that was measured holds")


def main() -> None:
    """Entry point of the console script."""
    app()
