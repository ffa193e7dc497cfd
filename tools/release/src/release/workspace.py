"""The workspace: its members as declared in their ``pyproject.toml``, its git history, and its tags."""

import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

from release.shell import Broken, Refusal, Shell, nearest

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
        table: dict[str, Any] = self.config.get("project", {})
        for key in ("name", "version"):
            if key not in table:
                raise Broken(f"{self.path}/pyproject.toml must have a [project] table with a {key}, found none")
        return table

    @property
    def name(self) -> str:
        """The distribution's name."""
        return str(self.project["name"])

    @property
    def version(self) -> Version:
        """The static version."""
        text = str(self.project["version"])
        try:
            return Version(text)
        except InvalidVersion:
            raise Broken(f"the version in {self.path}/pyproject.toml must be a PEP 440 version, got {text!r}") from None

    @property
    def published(self) -> bool:
        """Returns whether it may go to an index; tools carry a classifier that indexes refuse."""
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
        """Finds a published member.

        Raises:
            Refusal: there is none of this name, or it is a tool.
        """
        if name not in self.members:
            known = ", ".join(self.packages)
            raise Broken(f"NAME must be one of {known}, got {name!r}{nearest(name, self.packages)}")
        if not self.members[name].published:
            raise Refusal(f"{name} is a tool and is never published")
        return self.members[name]


def find(start: Path | None = None) -> Workspace:
    """Finds the workspace around a folder, the current one by default.

    Raises:
        Refusal: no parent holds a workspace.
    """
    here = (start or Path.cwd()).resolve()
    for folder in [here, *here.parents]:
        file = folder / "pyproject.toml"
        if file.exists() and "workspace" in read_toml(file).get("tool", {}).get("uv", {}):
            return Workspace(folder)
    raise Broken(f"{here} lies in no uv workspace; change into the repository")


def read_toml(path: Path) -> dict[str, Any]:
    """Reads a TOML file.

    Raises:
        Broken: it is none.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of TOML, or of UTF-8
        raise Broken(f"{path} must be TOML in UTF-8: {error}") from None


@dataclass(frozen=True)
class Repository:
    """Questions to git, each one a command that only reads."""

    shell: Shell

    def git(self, *arguments: str) -> str:
        """Asks git; its answer without the last line break."""
        return self.shell.query("git", *arguments).rstrip("\n")

    def knows(self, revision: str) -> bool:
        """Returns whether a commit is here under this name."""
        return self.shell.succeeds(
            "git", "rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}"
        )

    def commit(self, revision: str) -> str:
        """Returns the full hash of a commit."""
        return self.git("rev-parse", "--verify", "--end-of-options", revision + "^{commit}")

    def is_shallow(self) -> bool:
        """Returns whether history was cut off."""
        return self.git("rev-parse", "--is-shallow-repository") == "true"

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Returns whether one commit lies in another's history."""
        return self.shell.succeeds("git", "merge-base", "--is-ancestor", older, newer)

    def main(self) -> str | None:
        """Names the main branch: the remote's where there is one."""
        return next((name for name in ("origin/main", "main") if self.knows(name)), None)

    def changes(self) -> list[str]:
        """Lists what is not committed, new files included."""
        return self.git("status", "--porcelain", "--untracked-files=all").splitlines()

    def tags(self) -> list[str]:
        """Lists the tags."""
        return self.git("tag", "--list").splitlines()

    def commits_since(self, tag: str | None, paths: list[str]) -> int:
        """Counts the commits after a tag, or all of them, that touch some paths."""
        span = "HEAD" if tag is None else f"refs/tags/{tag}..HEAD"
        return int(self.git("rev-list", "--count", span, "--", *paths))

    def files(self, folder: str = ".") -> list[str]:
        """Lists the files git tracks below a folder of the root and that still exist, relative to the root."""
        names = self.git("ls-files", "-z", "--cached", "--", folder).split("\0")
        return sorted(name for name in names if name and (self.shell.root / name).exists())

    def sources(self) -> list[str]:
        """Lists tracked files and new ones that git does not ignore."""
        names = self.git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
        return sorted({name for name in names if name and (self.shell.root / name).is_file()})

    def export(self, revision: str, folder: str, target: Path) -> None:
        """Lays out a folder as it was at a revision, below ``target``; the working tree is left alone."""
        for name in self.git("ls-tree", "-r", "-z", "--name-only", revision, "--", folder).split("\0"):
            if name.endswith((".py", ".pyi")):
                path = target / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(self.shell.query("git", "show", f"{revision}:{name}"), encoding="utf-8")


def tag_of(member: Member) -> str:
    """Returns the tag of the package's present version."""
    return f"{member.name}-v{member.version}"


def parse_tag(tag: str, workspace: Workspace) -> tuple[Member, Version]:
    """Reads a tag; the longest member name that fits wins, so that ``a-v`` never takes what is ``a-vb``'s.

    Raises:
        Refusal: it is not of the form, names no member, or names a tool.
    """
    for name in sorted(workspace.members, key=len, reverse=True):
        if tag.startswith(f"{name}-v"):
            version = _version(tag, tag.removeprefix(f"{name}-v"))
            return workspace.package(name), version
    raise Refusal(f"a tag must be <dist>-v<version> of {', '.join(workspace.packages)}, got {tag!r}")


def released(member: Member, tags: list[str], workspace: Workspace) -> dict[Version, str]:
    """Returns the package's tags by version, oldest first; tags of others and malformed ones are left out."""
    found: dict[Version, str] = {}
    for tag in tags:
        try:
            owner, version = parse_tag(tag, workspace)
        except Refusal:
            continue
        if owner == member:
            found[version] = tag
    return dict(sorted(found.items()))


def _version(tag: str, text: str) -> Version:
    try:
        version = Version(text)
    except InvalidVersion as error:
        raise Refusal(f"the part after -v must be a PEP 440 version, got {tag!r}") from error
    if str(version) != text:
        raise Refusal(f"the version of a tag must be written {version}, got {tag!r}")
    return version
