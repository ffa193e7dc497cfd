"""Everything CI checks without running the code. Each command is printed; all run, and one fault fails."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from release import changelog, hygiene, imports
from release.exits import Exit, Refusal
from release.repository import Repository
from release.running import DryRun, run_app
from release.shell import Shell, program, tell
from release.workspace import Workspace, find

app = typer.Typer(add_completion=False)


def commands(workspace: Workspace) -> Iterator[list[str | Path]]:
    """Yield the commands of others that are run."""
    root = workspace.root
    sources = [member.source.relative_to(root) for member in workspace.members.values()]
    workflows = [path.relative_to(root) for path in sorted(root.glob(".github/workflows/*.yml"))]
    projects = [member.folder.relative_to(root) / "pyproject.toml" for member in workspace.members.values()]
    schema = [program("check-jsonschema"), "--builtin-schema"]
    yield [program("ruff"), "check", "."]
    yield [program("ruff"), "format", "--check", "."]
    yield [program("mypy"), *sources]
    yield [program("pyright"), "--pythonpath", sys.executable, *sources]
    yield [program("validate-pyproject"), *projects]
    yield [program("zizmor"), "--offline", "--persona=pedantic", "--quiet", ".github"]
    yield [*schema, "vendor.github-workflows", *workflows]
    yield [*schema, "vendor.dependabot", ".github/dependabot.yml"]


def boundaries(workspace: Workspace, repository: Repository) -> list[str]:
    """Who imports whom: see ``imports``."""
    paths = [path for path in repository.sources() if path.endswith(".py")]
    return [fault for path in paths for fault in imports.faults(workspace, path)]


def same_checks(workspace: Workspace, _: Repository) -> list[str]:
    """``_checks.py`` is the same everywhere."""
    return hygiene.differing_checks(workspace)


def clean_files(workspace: Workspace, repository: Repository) -> list[str]:
    """No lock file, machine path or registry host is tracked."""
    return hygiene.faults(workspace.root, repository.files())


def pinned_actions(workspace: Workspace, _: Repository) -> list[str]:
    """Every action of a workflow is pinned."""
    found = sorted(workspace.root.glob(".github/workflows/*.yml"))
    return [
        fault
        for path in found
        for fault in hygiene.unpinned_actions(path.relative_to(workspace.root).as_posix(), path.read_text("utf-8"))
    ]


def changelogs(workspace: Workspace, _: Repository) -> list[str]:
    """Every package's changelog is valid and ends at its version."""
    return [
        f"{member.path}/CHANGELOG.md: {fault}"
        for member in workspace.packages.values()
        for fault in changelog.faults(member.changelog.read_text(encoding="utf-8"), member.version)
    ]


RULES = (boundaries, same_checks, clean_files, pinned_actions, changelogs)


@app.command()
def check_all(
    only: Annotated[
        list[str] | None, typer.Option(help="Run only what starts with this word; may be given again.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Check everything that CI checks without running the code."""
    workspace = find(Path.cwd())
    shell = Shell(workspace.root, dry_run)
    failed = list(_faulty(workspace, shell, only or []))
    if failed:
        raise Refusal(Exit.FAULTS, f"{len(failed)} of the checks found faults: {', '.join(failed)}")


def _faulty(workspace: Workspace, shell: Shell, only: list[str]) -> Iterator[str]:
    for command in commands(workspace):
        name = " ".join([Path(command[0]).name, *(str(word) for word in command[1:2] if word in ("check", "format"))])
        if _chosen(name, only) and shell.run_status(*command):
            yield name
    for rule in RULES:
        name = rule.__name__.replace("_", "-")
        if _chosen(name, only):
            tell(f"$ check --only {name}")
            wrong = [] if shell.dry_run else rule(workspace, Repository(shell))
            for fault in wrong:
                print(fault)
            if wrong:
                yield name


def _chosen(name: str, only: list[str]) -> bool:
    return not only or any(name.startswith(word) for word in only)


def main() -> None:
    """Run the console command ``check``."""
    run_app(app, "check")
