"""The console command ``release``: each package on its own cadence."""

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from release import building, bumping, changelog, checking, floors, listing, planning, publishing, rehearsing
from release.repository import Repository
from release.running import DryRun, Name, run_app
from release.shell import Shell
from release.workspace import find

app = typer.Typer(add_completion=False, no_args_is_help=True)

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
    workspace = find(Path.cwd())
    print(listing.table(listing.rows(workspace, Repository(Shell(workspace.root, dry_run)))))


@app.command()
def plan(
    name: Annotated[str | None, typer.Argument(help="The distribution; the tag names it too.")] = None,
    tag: Annotated[str | None, typer.Option(help="A tag that was pushed.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Check that this commit may be released; print what, as key=value. Writes nothing."""
    workspace = find(Path.cwd())
    planned = planning.plan(workspace, Repository(Shell(workspace.root, dry_run)), name, tag)
    print("\n".join(f"{key}={value}" for key, value in planned.facts().items()))


@app.command()
def bump(name: Name, size: Size, dry_run: DryRun = False) -> None:
    """Raise the version in pyproject.toml and date the changelog's section. Writes these two files alone."""
    workspace = find(Path.cwd())
    today = datetime.now(UTC).date()
    print(bumping.bump(workspace.package(name), size, today, Shell(workspace.root, dry_run)))


@app.command()
def notes(name: Name, dry_run: DryRun = False) -> None:
    """Print what the changelog says of the present version, for the release page. Writes nothing."""
    workspace = find(Path.cwd())
    member = workspace.package(name)
    planning.changelog_says(member)
    print(changelog.sections(member.changelog.read_text(encoding="utf-8"))[1].body)


@app.command()
def build(name: Name, dry_run: DryRun = False) -> None:
    """Build twice, compare, and leave wheel and sdist in dist/NAME."""
    workspace = find(Path.cwd())
    building.build(workspace, workspace.package(name), Shell(workspace.root, dry_run), workspace.root / "dist" / name)


@app.command()
def check(name: Name, python: Python = "3.12", dry_run: DryRun = False) -> None:
    """Build, then judge metadata, contents, imports, types and tests in a clean environment. Leaves nothing behind."""
    workspace = find(Path.cwd())
    checking.check(workspace, workspace.package(name), Shell(workspace.root, dry_run), python)


@app.command("floors")
def run_floors(name: Name, python: Python = "3.11", dry_run: DryRun = False) -> None:
    """Install the lowest declared versions, print and compare them, run the tests. Leaves nothing behind."""
    workspace = find(Path.cwd())
    floors.try_floors(workspace, workspace.package(name), Shell(workspace.root, dry_run), python)


@app.command()
def rehearse(
    name: Name,
    python: Annotated[list[str] | None, typer.Option(help="A Python to install on; may be given again.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Release to an index on this machine: upload, refusal, resume, install by name, tests. Leaves nothing behind."""
    workspace = find(Path.cwd())
    versions = python or ["3.11", "3.12", "3.13"]
    rehearsing.rehearse(workspace, workspace.package(name), Shell(workspace.root, dry_run), versions)


@app.command()
def publish(
    name: Name,
    publish_url: Annotated[str | None, typer.Option(help="Upload here; the public index by default.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Upload what `release build` left in dist/NAME; a real index is refused outside CI."""
    workspace = find(Path.cwd())
    workspace.package(name)
    files = building.built(workspace.root / "dist" / name)
    publishing.publish(files, publish_url, Shell(workspace.root, dry_run))


def main() -> None:
    """Run the console command ``release``."""
    run_app(app, "release")
