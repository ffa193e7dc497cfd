"""The console commands ``release``, ``check`` and ``affected``."""

import io
import json
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from release import build, changelog, index, install, plan, rules
from release.shell import Exit, Refusal, Shell, tell
from release.workspace import Repository, Workspace, find

app = typer.Typer(add_completion=False, no_args_is_help=True)
check_app = typer.Typer(add_completion=False)
affected_app = typer.Typer(add_completion=False)

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would run; run only what reads.")]
Name = Annotated[str, typer.Argument(help="The distribution's name, such as thermolion.")]

Python = Annotated[str, typer.Option(help="The Python version, such as 3.12; it must be installed.")]


class Size(StrEnum):
    """Steps of a version."""

    major = "major"
    minor = "minor"
    patch = "patch"
    alpha = "alpha"
    beta = "beta"
    rc = "rc"
    stable = "stable"


@app.command("list")
def list_packages(dry_run: DryRun = False) -> None:
    """Print each package's version, last tag, and the commits since that touch what is shipped."""
    workspace, shell = _here(dry_run)
    print(plan.table(plan.rows(workspace, Repository(shell))))


@app.command("plan")
def plan_release(
    name: Annotated[str | None, typer.Argument(help="The distribution; the tag names it too.")] = None,
    tag: Annotated[str | None, typer.Option(help="A tag that was pushed.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Check that this commit may be released; print what, as key=value. Writes nothing."""
    workspace, shell = _here(dry_run)
    planned = plan.plan(workspace, Repository(shell), name, tag)
    print("\n".join(f"{key}={value}" for key, value in planned.facts().items()))


@app.command()
def bump(name: Name, size: Size, dry_run: DryRun = False) -> None:
    """Raise the version in pyproject.toml and date the changelog's section. Writes these two files alone."""
    workspace, shell = _here(dry_run)
    today = datetime.now(UTC).date()
    print(plan.bump(workspace.package(name), size, today, shell))


@app.command()
def notes(name: Name, dry_run: DryRun = False) -> None:
    """Print what the changelog says of the present version, for the release page. Writes nothing."""
    member = find(Path.cwd()).package(name)
    plan.changelog_says(member)
    print(changelog.sections(member.changelog.read_text(encoding="utf-8"))[1].body)


@app.command("build")
def build_package(name: Name, dry_run: DryRun = False) -> None:
    """Build twice, compare, and leave wheel and sdist in dist/NAME."""
    workspace, shell = _here(dry_run)
    build.build(workspace, workspace.package(name), shell, workspace.root / "dist" / name)


@app.command("check")
def check_package(name: Name, python: Python = "3.12", dry_run: DryRun = False) -> None:
    """Build, then judge metadata, contents, imports, types and tests in a clean environment. Leaves nothing behind."""
    workspace, shell = _here(dry_run)
    install.check(workspace, workspace.package(name), shell, python)


@app.command("floors")
def run_floors(name: Name, python: Python = "3.11", dry_run: DryRun = False) -> None:
    """Install the lowest declared versions, print and compare them, run the tests. Leaves nothing behind."""
    workspace, shell = _here(dry_run)
    install.try_floors(workspace, workspace.package(name), shell, python)


@app.command()
def rehearse(
    name: Name,
    python: Annotated[list[str] | None, typer.Option(help="A Python to install on; may be given again.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Release to an index on this machine: upload, refusal, resume, install by name, tests. Leaves nothing behind."""
    workspace, shell = _here(dry_run)
    versions = python or ["3.11", "3.12", "3.13"]
    index.rehearse(workspace, workspace.package(name), shell, versions)


@app.command()
def publish(
    name: Name,
    publish_url: Annotated[str | None, typer.Option(help="Upload here; the public index by default.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Upload what `release build` left in dist/NAME; a real index is refused outside CI."""
    workspace, shell = _here(dry_run)
    workspace.package(name)
    files = build.built(workspace.root / "dist" / name)
    index.publish(files, publish_url, shell)


@check_app.command()
def check_repository(
    only: Annotated[
        list[str] | None, typer.Option(help="Run only what starts with this word; may be given again.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Check everything that CI checks without running the code; all checks run, and one fault fails."""
    workspace, shell = _here(dry_run)
    failed = list(rules.faulty(workspace, shell, only or []))
    if failed:
        raise Refusal(f"{len(failed)} of the checks found faults: {', '.join(failed)}")


@affected_app.command()
def print_affected(
    base: Annotated[str | None, typer.Option(help="Compare with this commit; origin/main or main by default.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Compare with nothing: print every package.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, for a workflow's matrix.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Print the packages that differ from where this branch left BASE, one a line."""
    workspace, shell = _here(dry_run)
    paths = [] if everything else plan.changed(Repository(shell), base)
    names = list(workspace.packages) if everything else plan.affected(paths, workspace)
    print(json.dumps(names) if as_json else "\n".join(names))


def main() -> None:
    """Runs the console command ``release``."""
    _run(app, "release")


def check() -> None:
    """Runs the console command ``check``."""
    _run(check_app, "check")


def affected() -> None:
    """Runs the console command ``affected``."""
    _run(affected_app, "affected")


def _here(dry_run: bool) -> tuple[Workspace, Shell]:
    """Returns the workspace around the current folder, and the shell that runs commands in it."""
    workspace = find(Path.cwd())
    return workspace, Shell(workspace.root, dry_run)


def _run(command: typer.Typer, name: str) -> None:
    """Runs a command on the command line's arguments; a refusal or a slip is one line and its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an encoding that lacks a letter still tells the rest
    try:
        code = command(prog_name=name, standalone_mode=False)
        sys.stdout.flush()  # a full disk shows here at the latest
    except Refusal as refusal:
        tell(f"{name}: {refusal}")
        code = refusal.code
    except OSError as error:
        where = error.filename or "the output"
        tell(f"{name}: {where}: {error.strerror or error}")
        code = Exit.BROKEN
    except Exception as error:
        usage = getattr(error, "format_message", None)  # of typer, whichever click it carries
        if usage is None:
            raise
        said = str(usage())
        tell(said if type(error).__name__ == "NoArgsIsHelpError" else f"{name}: {' '.join(said.split())}")
        code = Exit.BROKEN
    sys.exit(int(code or 0))
