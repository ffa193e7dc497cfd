"""What each package's users have, and what waits for them."""

from typing import NamedTuple

from release import tags
from release.repository import Repository
from release.workspace import Workspace

# What reaches a user through the wheel, the page on the index included.
SHIPPED = ("src", "pyproject.toml", "README.md", "LICENSE")


class Row(NamedTuple):
    """One package; ``waiting`` counts commits since the tag that touch what is shipped."""

    dist: str
    version: str
    tag: str
    waiting: int


def rows(workspace: Workspace, repository: Repository) -> list[Row]:
    """List the packages."""
    known = repository.tags()
    found: list[Row] = []
    for member in workspace.packages.values():
        mine = list(tags.released(member, known, workspace).values())
        last = mine[-1] if mine else None
        paths = [f"{member.path}/{name}" for name in SHIPPED]
        found.append(Row(member.name, str(member.version), last or "-", repository.commits_since(last, paths)))
    return found


def table(found: list[Row]) -> str:
    """Lay the rows out in columns."""
    cells = [("dist", "version", "last tag", "commits since"), *(tuple(map(str, row)) for row in found)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)
