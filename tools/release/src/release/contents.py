"""Compare what a wheel or an sdist holds with what git tracks."""

import tarfile
import zipfile
from pathlib import Path

# Folders and files of a package that its sdist carries; the rest of what git tracks there is for contributors.
SOURCES = ("src/", "tests/", "examples/")
FILES = ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE")
# What building adds.
MADE = {"PKG-INFO", ".gitignore"}


def wheel_faults(wheel: Path, tracked: list[str]) -> list[str]:
    """Compare a wheel's modules with the tracked files of the package folder."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    held = {name for name in names if not name.split("/")[0].endswith(".dist-info")}
    return _compare(wheel.name, held, {name.removeprefix("src/") for name in tracked if name.startswith("src/")})


def sdist_faults(sdist: Path, tracked: list[str]) -> list[str]:
    """Compare an sdist with the tracked files of the package folder."""
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    expected = {name for name in tracked if name.startswith(SOURCES) or name in FILES}
    return _compare(sdist.name, names - MADE, expected)


def _compare(name: str, held: set[str], expected: set[str]) -> list[str]:
    wrong = [f"{name} holds {extra}, which git does not track" for extra in sorted(held - expected)]
    return wrong + [f"{name} lacks {missing}, which git tracks" for missing in sorted(expected - held)]
