"""What must not be committed: lock files, paths of one machine, names of registry hosts."""

import re
from itertools import pairwise
from pathlib import Path

from release.workspace import Workspace

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


def faults(root: Path, names: list[str]) -> list[str]:
    """Judge tracked files by name and text; each fault starts with path and line."""
    wrong = [f"{name}: a lock file stays out of git" for name in names if Path(name).name in LOCK_FILES]
    for name in names:
        try:
            text = (root / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            wrong += [f"{name}:{number}: {what}" for what in _line_faults(line)]
    return wrong


def differing_checks(workspace: Workspace) -> list[str]:
    """Say whether ``_checks.py`` is the same in every package, byte for byte."""
    copies = [member.source / member.module / "_checks.py" for member in workspace.packages.values()]
    return [
        f"{other.relative_to(workspace.root)} must equal {one.relative_to(workspace.root)}, byte for byte"
        for one, other in pairwise(copies)
        if not other.exists() or not one.exists() or one.read_bytes() != other.read_bytes()
    ]


def unpinned_actions(name: str, text: str) -> list[str]:
    """List a workflow's actions that are not pinned by a 40-digit SHA with the version beside it."""
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
