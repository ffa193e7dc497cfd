"""The workspace's members, read from their ``pyproject.toml`` files."""

import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

from release.exits import Exit, Refusal

PRIVATE = "Private :: Do Not Upload"


@dataclass(frozen=True)
class Member:
    """One member: a package that is published, or a tool that never is."""

    root: Path
    folder: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """``pyproject.toml``."""
        return read_toml(self.folder / "pyproject.toml")

    @property
    def project(self) -> dict[str, Any]:
        """The ``[project]`` table."""
        table: dict[str, Any] = self.config["project"]
        return table

    @property
    def name(self) -> str:
        """The distribution's name."""
        return str(self.project["name"])

    @property
    def version(self) -> Version:
        """The static version."""
        return Version(str(self.project["version"]))

    @property
    def published(self) -> bool:
        """Whether it may go to an index; tools carry a classifier that indexes refuse."""
        return PRIVATE not in self.project.get("classifiers", [])

    @property
    def module(self) -> str:
        """The name users import."""
        packages: list[str] = self.config["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
        return Path(packages[0]).name

    @property
    def path(self) -> str:
        """The folder as git writes it, relative to the root."""
        return self.folder.relative_to(self.root).as_posix()

    @property
    def source(self) -> Path:
        """The folder on the import path."""
        return self.folder / "src"

    @property
    def changelog(self) -> Path:
        """The package's changelog."""
        return self.folder / "CHANGELOG.md"

    @property
    def requires(self) -> list[Requirement]:
        """What every user installs with it."""
        return [Requirement(line) for line in self.project.get("dependencies", [])]

    @property
    def extras(self) -> dict[str, list[Requirement]]:
        """What some users ask for."""
        tables: dict[str, list[str]] = self.project.get("optional-dependencies", {})
        return {extra: [Requirement(line) for line in lines] for extra, lines in tables.items()}


@dataclass(frozen=True)
class Workspace:
    """The root and its members."""

    root: Path

    @cached_property
    def members(self) -> dict[str, Member]:
        """Members by name, in the order of their folders."""
        patterns: list[str] = self.config["tool"]["uv"]["workspace"]["members"]
        folders = sorted(path for pattern in patterns for path in self.root.glob(pattern))
        members = [Member(self.root, folder) for folder in folders if (folder / "pyproject.toml").exists()]
        return {member.name: member for member in members}

    @cached_property
    def config(self) -> dict[str, Any]:
        """The root's ``pyproject.toml``."""
        return read_toml(self.root / "pyproject.toml")

    @property
    def packages(self) -> dict[str, Member]:
        """Members that are published."""
        return {name: member for name, member in self.members.items() if member.published}

    @property
    def date_pin(self) -> str | None:
        """The day up to which the registry is seen, or None where the pin was taken out."""
        value = self.config["tool"]["uv"].get("exclude-newer")
        return None if value is None else str(value)

    def package(self, name: str) -> Member:
        """Find a published member.

        Raises:
            Refusal: there is none of this name, or it is a tool.
        """
        if name not in self.members:
            known = ", ".join(self.packages)
            raise Refusal(Exit.UNKNOWN_PACKAGE, f"NAME must be one of {known}, got {name!r}")
        if not self.members[name].published:
            raise Refusal(Exit.NOT_PUBLISHED, f"{name} is a tool and is never published")
        return self.members[name]


def find(start: Path | None = None) -> Workspace:
    """Find the workspace around a folder, the current one by default.

    Raises:
        Refusal: no parent holds a workspace.
    """
    here = (start or Path.cwd()).resolve()
    for folder in [here, *here.parents]:
        file = folder / "pyproject.toml"
        if file.exists() and "workspace" in read_toml(file).get("tool", {}).get("uv", {}):
            return Workspace(folder)
    raise Refusal(Exit.USAGE, f"{here} lies in no uv workspace; change into the repository")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file."""
    return tomllib.loads(path.read_text(encoding="utf-8"))
