"""Tags: ``<dist>-v<version>`` names one package and one version."""

from packaging.version import InvalidVersion, Version

from release.exits import Exit, Refusal
from release.workspace import Member, Workspace


def tag_of(member: Member) -> str:
    """Return the tag of the package's present version."""
    return f"{member.name}-v{member.version}"


def parse(tag: str, workspace: Workspace) -> tuple[Member, Version]:
    """Read a tag; the longest member name that fits wins, so that ``a-v`` never takes what is ``a-vb``'s.

    Raises:
        Refusal: it is not of the form, names no member, or names a tool.
    """
    for name in sorted(workspace.members, key=len, reverse=True):
        if tag.startswith(f"{name}-v"):
            version = _version(tag, tag.removeprefix(f"{name}-v"))
            return workspace.package(name), version
    raise Refusal(Exit.UNKNOWN_TAG, f"a tag must be <dist>-v<version> of {', '.join(workspace.packages)}, got {tag!r}")


def released(member: Member, tags: list[str], workspace: Workspace) -> dict[Version, str]:
    """Return the package's tags by version, oldest first; tags of others and malformed ones are left out."""
    found: dict[Version, str] = {}
    for tag in tags:
        try:
            owner, version = parse(tag, workspace)
        except Refusal:
            continue
        if owner == member:
            found[version] = tag
    return dict(sorted(found.items()))


def _version(tag: str, text: str) -> Version:
    try:
        version = Version(text)
    except InvalidVersion as error:
        raise Refusal(Exit.UNKNOWN_TAG, f"the part after -v must be a PEP 440 version, got {tag!r}") from error
    if str(version) != text:
        raise Refusal(Exit.UNKNOWN_TAG, f"the version of a tag must be written {version}, got {tag!r}")
    return version
