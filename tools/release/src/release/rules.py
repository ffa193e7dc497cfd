"""Repository rules: everything CI checks without running the code."""

import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from release import changelog, imports
from release.shell import Broken, Shell, nearest, program, tell
from release.workspace import Repository, Workspace

LOCK_FILES = {
    "uv.lock",
    "poetry.lock",
    "pdm.lock",
    "Pipfile.lock",
    "pixi.lock",
    "pylock.toml",
    "package-lock.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    "Cargo.lock",
}
# Each host in two halves, for this file is searched too.
HOSTS = re.compile(
    "|".join(
        re.escape(left) + right
        for left, right in (
            ("pypi", r"\.(org|python\.org)"),
            ("python", r"hosted\.(org|com)"),
            ("npm", r"js\.(org|com)"),
            ("deb", r"\.debian\.org"),
            ("deb", r"ian\.org/debian"),
            ("static.", r"crates\.io"),
            ("download.", r"pytorch\.org"),
            ("conda", r"\.anaconda\.org"),
        )
    )
)
MACHINE = re.compile(r"(?<![\w.~$}/-])/(?:root|work|farm|home/[\w.-]+|Users/[\w.-]+)/[\w.]")


def commands(workspace: Workspace) -> Iterator[list[str | Path]]:
    """Yields the commands of others that are run."""
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
    """No import crosses a boundary (see ``imports``)."""
    paths = [path for path in repository.sources() if path.endswith(".py")]
    return [fault for path in paths for fault in imports.faults(workspace, path)]


# Their parts name the class that holds them in annotations: a circle of types alone.
TYPES_APART = {"torcheggroll"}


def import_circles(workspace: Workspace, _: Repository) -> list[str]:
    """No modules of a member import each other in a circle."""
    return [
        fault
        for member in workspace.members.values()
        for fault in imports.circles(member, types=member.name not in TYPES_APART)
    ]


def same_checks(workspace: Workspace, _: Repository) -> list[str]:
    """``_checks.py`` is the same in every package, byte for byte."""
    copies = [member.source / member.module / "_checks.py" for member in workspace.packages.values()]
    return [
        f"{other.relative_to(workspace.root)} must equal {one.relative_to(workspace.root)}, byte for byte"
        for one, other in pairwise(copies)
        if not other.exists() or not one.exists() or one.read_bytes() != other.read_bytes()
    ]


def clean_files(workspace: Workspace, repository: Repository) -> list[str]:
    """No lock file, machine path or registry host is tracked."""
    return file_faults(workspace.root, repository.files())


def pinned_actions(workspace: Workspace, _: Repository) -> list[str]:
    """Every action of a workflow is pinned."""
    found = sorted(workspace.root.glob(".github/workflows/*.yml"))
    return [
        fault
        for path in found
        for fault in unpinned_actions(path.relative_to(workspace.root).as_posix(), path.read_text("utf-8"))
    ]


def changelogs(workspace: Workspace, _: Repository) -> list[str]:
    """Every package's changelog is valid and ends at its version."""
    return [
        f"{member.path}/CHANGELOG.md: {fault}"
        for member in workspace.packages.values()
        for fault in changelog.faults(member.changelog.read_text(encoding="utf-8"), member.version)
    ]


RULES = (boundaries, import_circles, same_checks, clean_files, pinned_actions, changelogs)


def faulty(workspace: Workspace, shell: Shell, only: list[str]) -> Iterator[str]:
    """Runs the checks whose names start with a word of ``only``, or all; yields the names of those that fail.

    Raises:
        Broken: a word begins no check's name.
    """
    programs = [(_name(command), command) for command in commands(workspace)]
    names = [*dict(programs), *(rule.__name__.replace("_", "-") for rule in RULES)]
    for word in only:
        if not any(name.startswith(word) for name in names):
            raise Broken(f"--only must begin one of {', '.join(names)}, got {word!r}{nearest(word, names)}")
    for name, command in programs:
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


def _name(command: list[str | Path]) -> str:
    """Names a program's check: ruff's two by their first word too."""
    return " ".join([Path(command[0]).stem, *(str(word) for word in command[1:2] if word in ("check", "format"))])


def _chosen(name: str, only: list[str]) -> bool:
    return not only or any(name.startswith(word) for word in only)


def file_faults(root: Path, names: list[str]) -> list[str]:
    """Judges tracked files by name and text; each fault starts with path and line."""
    wrong = [f"{name}: a lock file stays out of git" for name in names if Path(name).name in LOCK_FILES]
    for name in names:
        try:
            text = (root / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            wrong += [f"{name}:{number}: {what}" for what in _line_faults(line)]
    return wrong


def unpinned_actions(name: str, text: str) -> list[str]:
    """Lists a workflow's actions that are not pinned by a 40-digit SHA with the version beside it."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if re.search(r"\buses:", line)]
    return [
        f"{name}:{number}: an action must be pinned as owner/name@<40 digits> # v<version>"
        for number, line in lines
        if not re.search(r"uses: (\./[\w./-]+|[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)+)$", line)
    ]


def _line_faults(line: str) -> list[str]:
    found: list[str] = []
    if MACHINE.search(line):
        found.append("a path of one machine")
    if HOSTS.search(line):
        found.append("the name of a registry host")
    return found
