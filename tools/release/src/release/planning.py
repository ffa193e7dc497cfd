"""May this commit be released as this version? The first rule that is broken refuses."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from release import api, changelog, tags
from release.exits import Exit, Refusal
from release.repository import Repository
from release.workspace import Member, Workspace


@dataclass(frozen=True)
class Plan:
    """What would be released."""

    member: Member
    tag: str
    previous: str | None
    breaks: list[str]

    def facts(self) -> dict[str, str]:
        """Return the plan as words that a workflow can read, ``key=value``."""
        return {
            "dist": self.member.name,
            "version": str(self.member.version),
            "tag": self.tag,
            "previous": self.previous or "",
            "api_breaks": str(len(self.breaks)),
        }


def plan(workspace: Workspace, repository: Repository, name: str | None, tag: str | None) -> Plan:
    """Check every rule of a release.

    Args:
        workspace: where the packages are.
        repository: its history.
        name: the package; may be left out where the tag names it.
        tag: a tag that was pushed; without one, the tag that the present version would get.

    Raises:
        Refusal: with the code of the first rule that is broken.
    """
    member = _member(workspace, name, tag)
    if repository.is_shallow():
        raise Refusal(Exit.SHALLOW, "the whole history is needed, this clone is shallow; run `git fetch --unshallow`")
    known = repository.tags()
    if tag is not None and tag not in known:
        raise Refusal(
            Exit.UNKNOWN_TAG, f"the tag {tag} must be in the repository; leave --tag out to plan before it is"
        )
    changelog_says(member)
    _clean(repository)
    _on_main(repository)
    earlier = _above_earlier(workspace, repository, member, known)
    breaks = _breaks(repository, member, earlier)
    newest = list(earlier.values())[-1] if earlier else None
    return Plan(member, tags.tag_of(member), newest, breaks)


def _member(workspace: Workspace, name: str | None, tag: str | None) -> Member:
    if tag is None:
        if name is None:
            raise Refusal(Exit.USAGE, "give a NAME, a --tag, or both")
        return workspace.package(name)
    wanted = workspace.package(name) if name is not None else None
    member, version = tags.parse(tag, workspace)
    if wanted not in (None, member):
        raise Refusal(Exit.OTHER_PACKAGE, f"the tag must name {name}, got {tag}, which names {member.name}")
    if version != member.version:
        raise Refusal(Exit.WRONG_VERSION, f"{member.path}/pyproject.toml is at {member.version}, the tag is {tag}")
    return member


def changelog_says(member: Member) -> None:
    """Refuse a changelog that is not valid or does not end at the package's version."""
    if not member.changelog.exists():
        raise Refusal(Exit.CHANGELOG, f"{member.path}/CHANGELOG.md must exist")
    wrong = changelog.faults(member.changelog.read_text(encoding="utf-8"), member.version)
    if wrong:
        raise Refusal(Exit.CHANGELOG, f"{member.path}/CHANGELOG.md: {'; '.join(wrong)}")


def _clean(repository: Repository) -> None:
    changes = repository.changes()
    if changes:
        raise Refusal(Exit.DIRTY, f"commit or remove {len(changes)} change(s) first, such as `{changes[0].strip()}`")


def _on_main(repository: Repository) -> None:
    main = repository.main()
    if main is None or not repository.is_ancestor("HEAD", main):
        raise Refusal(Exit.NOT_ON_MAIN, f"HEAD must be an ancestor of {main or 'main'}; merge it first")


def _above_earlier(
    workspace: Workspace, repository: Repository, member: Member, known: list[str]
) -> dict[Version, str]:
    earlier = tags.released(member, known, workspace)
    mine = earlier.pop(member.version, None)
    if mine is not None and repository.commit(f"refs/tags/{mine}") != repository.commit("HEAD"):
        where = repository.commit(f"refs/tags/{mine}")[:10]
        raise Refusal(
            Exit.TAG_ELSEWHERE, f"{mine} points at {where}, not at HEAD; run `release bump {member.name} SIZE`"
        )
    if earlier and list(earlier)[-1] > member.version:
        raise Refusal(Exit.ALREADY_RELEASED, f"{member.version} must be above {list(earlier)[-1]}, released already")
    return earlier


def _breaks(repository: Repository, member: Member, earlier: dict[Version, str]) -> list[str]:
    finals = [version for version in earlier if not version.is_prerelease]
    if not finals:
        return []
    last = finals[-1]
    with tempfile.TemporaryDirectory(prefix="release-api-") as scratch:
        repository.export(f"refs/tags/{earlier[last]}", f"{member.path}/src", Path(scratch))
        breaks = api.breaks(member.module, Path(scratch) / member.path / "src", member.source)
    if breaks and not api.allows_breaks(last, member.version):
        needed = "minor" if last.major == 0 else "major"
        raise Refusal(
            Exit.API_BREAK,
            f"{last} → {member.version} must be a {needed} step, for the API broke {len(breaks)} time(s): {breaks[0]}",
        )
    if breaks and not _confessed(member, last):
        raise Refusal(Exit.API_BREAK, f"the changelog must have an entry under Changed or Removed for {breaks[0]}")
    return breaks


def _confessed(member: Member, last: Version) -> bool:
    """Whether some section above the last release has an entry under Changed or Removed."""
    found = changelog.sections(member.changelog.read_text(encoding="utf-8"))[1:]
    return any({"Changed", "Removed"} & set(section.entries) for section in found if Version(section.label) > last)
