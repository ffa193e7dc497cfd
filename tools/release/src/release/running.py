"""Start a console command; a refusal ends it with one line and its own exit code."""

import sys
from typing import Annotated

import typer

from release.exits import Refusal
from release.shell import tell

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would run; run only what reads.")]
Name = Annotated[str, typer.Argument(help="The distribution's name, such as thermolion.")]


def run_app(app: typer.Typer, name: str) -> None:
    """Run an app on the command line's arguments and leave with its exit code."""
    try:
        app(prog_name=name)
    except Refusal as refusal:
        tell(f"{name}: {refusal} (exit {refusal.code.value})")
        sys.exit(refusal.code.value)
