"""Raise a version: ``pyproject.toml`` and ``CHANGELOG.md`` change, nothing else does."""

from datetime import date

from packaging.version import Version

from release import changelog
from release.exits import Exit, Refusal
from release.shell import Shell, tell, uv
from release.workspace import Member


def bump(member: Member, size: str, today: date, shell: Shell) -> Version:
    """Raise the version by ``size`` and date what stood under Unreleased.

    Raises:
        Refusal: the changelog is not valid or has nothing new, or uv refuses the step; nothing is written then.
    """
    text = member.changelog.read_text(encoding="utf-8")
    wrong = changelog.faults(text, member.version)
    if wrong:
        raise Refusal(Exit.CHANGELOG, f"{member.path}/CHANGELOG.md: {'; '.join(wrong)}")
    if not changelog.sections(text)[0].entries:
        raise Refusal(Exit.CHANGELOG, f"{member.path}/CHANGELOG.md has nothing under Unreleased: write what changed")
    step = [uv(), "version", "--package", member.name, "--bump", size, "--frozen"]
    version = Version(shell.query(*step, "--dry-run", "--short").strip())
    shell.run(*step)
    tell(f"{member.path}/CHANGELOG.md: Unreleased becomes [{version}] - {today.isoformat()}")
    if not shell.dry_run:
        member.changelog.write_text(changelog.release(text, version, today), encoding="utf-8")
    return version
