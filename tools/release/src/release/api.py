"""What a change does to the public API, read from source with griffe: nothing is imported."""

from collections.abc import Iterator
from pathlib import Path

import griffe
from packaging.version import Version


def breaks(module: str, old: Path, new: Path) -> list[str]:
    """Compare two source folders; one line for each thing that worked in ``old`` and does not in ``new``."""
    before, after = (_load(module, source) for source in (old, new))
    return [_line(breakage) for breakage in _breakages(before, after)]


def size(old: Version, new: Version) -> str:
    """Name the step from one version to another: major, minor, patch, or pre for a step between pre-releases."""
    for name, before, after in zip(("major", "minor", "patch"), _release(old), _release(new), strict=True):
        if after != before:
            return name
    return "pre"


def allows_breaks(old: Version, new: Version) -> bool:
    """Whether a step is large enough to break the API: a minor one below 1.0, a major one from there."""
    return size(old, new) in (("major", "minor") if old.major == 0 else ("major",))


def _breakages(old: griffe.Object | griffe.Alias, new: griffe.Object | griffe.Alias) -> Iterator[griffe.Breakage]:
    yield from griffe.find_breaking_changes(old, new)


def _load(module: str, source: Path) -> griffe.Object | griffe.Alias:
    return griffe.load(module, search_paths=[source], resolve_aliases=True, allow_inspection=False)


def _line(breakage: griffe.Breakage) -> str:
    what = breakage.kind.value
    return f"{breakage.obj.canonical_path}: {what} ({breakage.old_value!s} → {breakage.new_value!s})".replace("\n", " ")


def _release(version: Version) -> tuple[int, int, int]:
    return version.major, version.minor, version.micro
