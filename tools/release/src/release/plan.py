"""Versions: what a change touches, what waits for release, whether this commit may be released, the next version."""

import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import NamedTuple

import griffe
from packaging.version import Version

from release import changelog
from release.shell import Broken, Refusal, Shell, tell, uv
from release.workspace import Member, Repository, Workspace, parse_tag, released, tag_of


def affected(paths: list[str], workspace: Workspace) -> list[str]:
    """Maps changed paths to package names; a path outside the known folders counts for every package."""
    folders = {member.path: name for name, member in workspace.packages.items()}
    touched: set[str] = set()
    for path in paths:
        folder = "/".join(path.split("/")[:2])
        if path.startswith("docs/"):
            continue
        if folder not in folders or path == folder:
            return list(workspace.packages)
        touched.add(folders[folder])
    return [name for name in workspace.packages if name in touched]


def changed(repository: Repository, base: str | None) -> list[str]:
    """Lists the paths that differ from where this branch left ``base``, both names of a rename, new files too.

    Raises:
        Refusal: the base is unknown, or history was cut off before it.
    """
    base = base or repository.main()
    if base is None or not repository.knows(base):
        raise Broken(f"--base must be a commit of this clone, got {base!r}; fetch it, or name another")
    if not repository.shell.succeeds("git", "merge-base", base, "HEAD"):
        raise Broken(f"HEAD and {base!r} share no commit in this clone; fetch the whole history")
    committed = repository.git("diff", "--name-only", "--no-renames", "-z", "--merge-base", base)
    fresh = repository.git("ls-files", "-z", "--others", "--exclude-standard")
    return sorted({path for path in (committed + "\0" + fresh).split("\0") if path})


# What reaches a user through the wheel, the page on the index included.
SHIPPED = ("src", "pyproject.toml", "README.md", "LICENSE")


class Row(NamedTuple):
    """One package; ``waiting`` counts commits since the tag that touch what is shipped."""

    dist: str
    version: str
    tag: str
    waiting: int


def rows(workspace: Workspace, repository: Repository) -> list[Row]:
    """Lists the packages."""
    known = repository.tags()
    found: list[Row] = []
    for member in workspace.packages.values():
        mine = list(released(member, known, workspace).values())
        last = mine[-1] if mine else None
        paths = [f"{member.path}/{name}" for name in SHIPPED]
        found.append(Row(member.name, str(member.version), last or "-", repository.commits_since(last, paths)))
    return found


def table(found: list[Row]) -> str:
    """Lays the rows out in columns."""
    cells = [("dist", "version", "last tag", "commits since"), *(tuple(map(str, row)) for row in found)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)


def api_breaks(module: str, old: Path, new: Path) -> list[str]:
    """Compares two source folders with griffe, without importing them; a line for each call that ``new`` breaks."""
    before, after = (
        griffe.load(module, search_paths=[source], resolve_aliases=True, allow_inspection=False)
        for source in (old, new)
    )
    return [
        f"{found.obj.canonical_path}: {found.kind.value} ({found.old_value!s} → {found.new_value!s})".replace("\n", " ")
        for found in griffe.find_breaking_changes(before, after)
    ]


def size(old: Version, new: Version) -> str:
    """Names the step from one version to another: major, minor, patch, or pre for a step between pre-releases."""
    parts = {"major": (old.major, new.major), "minor": (old.minor, new.minor), "patch": (old.micro, new.micro)}
    return next((name for name, (before, after) in parts.items() if before != after), "pre")


def allows_breaks(old: Version, new: Version) -> bool:
    """Returns whether a step is large enough to break the API: a minor one below 1.0, a major one from there."""
    return size(old, new) in (("major", "minor") if old.major == 0 else ("major",))


@dataclass(frozen=True)
class Plan:
    """What would be released."""

    member: Member
    tag: str
    previous: str | None
    breaks: list[str]

    def facts(self) -> dict[str, str]:
        """Returns the plan as words that a workflow can read, ``key=value``."""
        return {
            "dist": self.member.name,
            "version": str(self.member.version),
            "tag": self.tag,
            "previous": self.previous or "",
            "api_breaks": str(len(self.breaks)),
        }


def plan(workspace: Workspace, repository: Repository, name: str | None, tag: str | None) -> Plan:
    """Checks every rule of a release.

    Args:
        workspace: where the packages are.
        repository: its history.
        name: the package; may be left out where the tag names it.
        tag: a tag that was pushed; without one, the tag that the present version would get.

    Raises:
        Refusal: the first rule that does not hold.
    """
    member = _member(workspace, name, tag)
    if repository.is_shallow():
        raise Refusal("the whole history is needed, this clone is shallow; run `git fetch --unshallow`")
    known = repository.tags()
    if tag is not None and tag not in known:
        raise Refusal(f"the tag {tag} must be in the repository; leave --tag out to plan before it is")
    changelog_says(member)
    _clean(repository)
    _on_main(repository)
    earlier = _above_earlier(workspace, repository, member, known)
    breaks = _breaks(repository, member, earlier)
    newest = list(earlier.values())[-1] if earlier else None
    return Plan(member, tag_of(member), newest, breaks)


def _member(workspace: Workspace, name: str | None, tag: str | None) -> Member:
    if tag is None:
        if name is None:
            raise Broken("give a NAME, a --tag, or both")
        return workspace.package(name)
    wanted = workspace.package(name) if name is not None else None
    member, version = parse_tag(tag, workspace)
    if wanted not in (None, member):
        raise Refusal(f"the tag must name {name}, got {tag}, which names {member.name}")
    if version != member.version:
        raise Refusal(f"{member.path}/pyproject.toml is at {member.version}, the tag is {tag}")
    return member


def changelog_says(member: Member) -> None:
    """Refuses a changelog that is not valid or does not end at the package's version."""
    if not member.changelog.exists():
        raise Refusal(f"{member.path}/CHANGELOG.md must exist")
    wrong = changelog.faults(member.changelog.read_text(encoding="utf-8"), member.version)
    if wrong:
        raise Refusal(f"{member.path}/CHANGELOG.md: {'; '.join(wrong)}")


def _clean(repository: Repository) -> None:
    changes = repository.changes()
    if changes:
        raise Refusal(f"commit or remove {len(changes)} change(s) first, such as `{changes[0].strip()}`")


def _on_main(repository: Repository) -> None:
    main = repository.main()
    if main is None or not repository.is_ancestor("HEAD", main):
        raise Refusal(f"HEAD must be an ancestor of {main or 'main'}; merge it first")


def _above_earlier(
    workspace: Workspace, repository: Repository, member: Member, known: list[str]
) -> dict[Version, str]:
    earlier = released(member, known, workspace)
    mine = earlier.pop(member.version, None)
    if mine is not None and repository.commit(f"refs/tags/{mine}") != repository.commit("HEAD"):
        where = repository.commit(f"refs/tags/{mine}")[:10]
        raise Refusal(f"{mine} points at {where}, not at HEAD; run `release bump {member.name} SIZE`")
    if earlier and list(earlier)[-1] > member.version:
        raise Refusal(f"{member.version} must be above {list(earlier)[-1]}, released already")
    return earlier


def _breaks(repository: Repository, member: Member, earlier: dict[Version, str]) -> list[str]:
    finals = [version for version in earlier if not version.is_prerelease]
    if not finals:
        return []
    last = finals[-1]
    with tempfile.TemporaryDirectory(prefix="release-api-") as scratch:
        repository.export(f"refs/tags/{earlier[last]}", f"{member.path}/src", Path(scratch))
        found = api_breaks(member.module, Path(scratch) / member.path / "src", member.source)
    if found and not allows_breaks(last, member.version):
        needed = "minor" if last.major == 0 else "major"
        raise Refusal(
            f"{last} → {member.version} must be a {needed} step, for the API broke {len(found)} time(s): {found[0]}",
        )
    if found and not _announced(member, last):
        raise Refusal(f"the changelog must have an entry under Changed or Removed for {found[0]}")
    return found


def _announced(member: Member, last: Version) -> bool:
    """Returns whether some section above the last release has an entry under Changed or Removed."""
    found = changelog.sections(member.changelog.read_text(encoding="utf-8"))[1:]
    return any({"Changed", "Removed"} & set(section.entries) for section in found if Version(section.label) > last)


def bump(member: Member, size: str, today: date, shell: Shell) -> Version:
    """Raises the version by ``size``, and dates the section Unreleased.

    Raises:
        Refusal: the changelog is not valid or has nothing new, or uv refuses the step; nothing is written then.
    """
    text = member.changelog.read_text(encoding="utf-8")
    wrong = changelog.faults(text, member.version)
    if wrong:
        raise Refusal(f"{member.path}/CHANGELOG.md: {'; '.join(wrong)}")
    if not changelog.sections(text)[0].entries:
        raise Refusal(f"{member.path}/CHANGELOG.md has nothing under Unreleased: write what changed")
    step = [uv(), "version", "--package", member.name, "--bump", size, "--frozen"]
    version = Version(shell.query(*step, "--dry-run", "--short").strip())
    shell.run(*step)
    tell(f"{member.path}/CHANGELOG.md: Unreleased becomes [{version}] - {today.isoformat()}")
    if not shell.dry_run:
        member.changelog.write_text(changelog.release(text, version, today), encoding="utf-8")
    return version
