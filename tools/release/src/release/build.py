"""Builds a package twice, compares the files, and checks their contents and their page on an index."""

import hashlib
import re
import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from packaging.metadata import Metadata
from trove_classifiers import classifiers as known_classifiers

from release.shell import Broken, Refusal, Shell, tell, uv
from release.workspace import Member, Repository, Workspace


class Built(NamedTuple):
    """The two files that are uploaded."""

    wheel: Path
    sdist: Path


def build(workspace: Workspace, member: Member, shell: Shell, target: Path) -> Built | None:
    """Builds into ``target``, which holds nothing else afterwards; None in a dry run.

    The second build starts from fresh copies under another path: it differs where the first one took up untracked
    files, times or places.

    Raises:
        Refusal: a build fails, the two differ, or they do not hold what git tracks.
    """
    settings = uv_settings(workspace)
    tracked = Repository(shell).files(member.path)
    with tempfile.TemporaryDirectory(prefix="release-build-") as scratch:
        first, copy, second = (Path(scratch) / name for name in ("first", "copy", "second"))
        command = [uv(), "build", "--quiet", "--no-sources"]
        shell.run(*command, "--package", member.name, "--out-dir", first, env=settings)
        copy_tracked(workspace.root, [*tracked, ".gitignore"], copy)
        shell.run(*command, copy / member.path, "--out-dir", second, env=settings)
        if shell.dry_run:
            return None
        refuse_different(first, second)
        _hold_what_git_tracks(member, _files(first), tracked)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for path in _files(first):
            shutil.copy2(path, target)
    return _files(target)


def built(target: Path) -> Built:
    """Returns what an earlier ``release build`` left in a folder.

    Raises:
        Refusal: it is not one wheel and one sdist.
    """
    if len([*target.glob("*.whl")]) != 1 or len([*target.glob("*.tar.gz")]) != 1:
        raise Broken(f"{target} must hold one wheel and one sdist; run `release build` first")
    return _files(target)


def copy_tracked(root: Path, names: list[str], target: Path) -> None:
    """Copies files, given relative to the root, below another folder; each gets the present time."""
    for name in names:
        if (root / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, target / name)


def digest(path: Path) -> str:
    """Returns a file's sha256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def uv_settings(workspace: Workspace) -> dict[str, str]:
    """Returns what the root tells uv, for commands that run elsewhere."""
    settings = {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_BUILD_PACKAGE": " ".join(_never_built(workspace))}
    if workspace.date_pin is not None:
        settings["UV_EXCLUDE_NEWER"] = workspace.date_pin
    return {name: value for name, value in settings.items() if value}


def _never_built(workspace: Workspace) -> list[str]:
    names: list[str] = workspace.config["tool"]["uv"].get("no-build-package", [])
    return names


def _files(folder: Path) -> Built:
    return Built(next(folder.glob("*.whl")), next(folder.glob("*.tar.gz")))


def refuse_different(first: Path, second: Path) -> None:
    """Refuses two folders whose wheels or sdists are not the same to the bit; prints the hashes."""
    for one in _files(first):
        hashes = [digest(one), digest(second / one.name) if (second / one.name).exists() else "absent"]
        tell(f"{one.name}: sha256 {hashes[0]} from the checkout, {hashes[1]} from a copy")
        if hashes[0] != hashes[1]:
            raise Refusal(f"{one.name} differs between the checkout and a copy of tracked files")


def _hold_what_git_tracks(member: Member, files: Built, tracked: list[str]) -> None:
    inside = [name.removeprefix(f"{member.path}/") for name in tracked]
    wrong = wheel_faults(files.wheel, inside) + sdist_faults(files.sdist, inside)
    if wrong:
        raise Refusal("; ".join(wrong))
    tell(f"{files.wheel.name} and {files.sdist.name} hold what git tracks, and nothing else")


# Folders and files of a package that its sdist carries; the rest of what git tracks there is for contributors.
SOURCES = ("src/", "tests/", "examples/")
FILES = ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE")
# What building adds.
MADE = {"PKG-INFO", ".gitignore"}


def wheel_faults(wheel: Path, tracked: list[str]) -> list[str]:
    """Compares a wheel's modules with the tracked files of the package folder."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    held = {name for name in names if not name.split("/")[0].endswith(".dist-info")}
    return _compare(wheel.name, held, {name.removeprefix("src/") for name in tracked if name.startswith("src/")})


def sdist_faults(sdist: Path, tracked: list[str]) -> list[str]:
    """Compares an sdist with the tracked files of the package folder."""
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    expected = {name for name in tracked if name.startswith(SOURCES) or name in FILES}
    return _compare(sdist.name, names - MADE, expected)


def _compare(name: str, held: set[str], expected: set[str]) -> list[str]:
    wrong = [f"{name} holds {extra}, which git does not track" for extra in sorted(held - expected)]
    return wrong + [f"{name} lacks {missing}, which git tracks" for missing in sorted(expected - held)]


WANTED = ("Development Status ::", "Intended Audience ::", "Programming Language :: Python :: 3.11", "Typing :: Typed")


def read(wheel: Path) -> Metadata:
    """Reads and validates a wheel's METADATA."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        return Metadata.from_email(archive.read(name), validate=True)


def metadata_faults(wheel: Path, member: Member) -> list[str]:
    """Says what is missing for a page on an index that tells a reader all they need."""
    data = read(wheel)
    wrong = _unless(
        {
            f"name and version must be {member.name} {member.version}": (data.name, data.version)
            == (member.name, member.version),
            "the summary must be one line of at most 200 characters": 0 < len(data.summary or "") <= 200,
            "there must be keywords": bool(data.keywords),
            "there must be a license expression": bool(data.license_expression),
            "there must be a requires-python": data.requires_python is not None,
            "every project URL must be https, and there must be one": bool(data.project_urls)
            and all(url.startswith("https://") for url in (data.project_urls or {}).values()),
            "the description must be Markdown": (data.description_content_type or "").startswith("text/markdown")
            and bool((data.description or "").strip()),
            "there must be an extra `dev`": "dev" in (data.provides_extra or []),
            "there must be an author": bool(data.author or data.author_email),
        }
    )
    wrong += _license_faults(wheel, data)
    listed = data.classifiers or []
    wrong += [f"the classifier {name!r} is not known" for name in listed if name not in known_classifiers]
    wrong += [f"a classifier {want!r} is missing" for want in WANTED if not any(c.startswith(want) for c in listed)]
    return wrong + [f"the README links to {link!r}, which no index resolves" for link in relative_links(data)]


def relative_links(data: Metadata) -> list[str]:
    """Lists the links of the long description that only work inside the repository."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", data.description or "", flags=re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)\s]+)", text) if not re.match(r"https?://|#|mailto:", link)]


def _license_faults(wheel: Path, data: Metadata) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    wanted = data.license_files or []
    if not wanted:
        return ["there must be a license file"]
    return [
        f"the license file {name} is not in the wheel"
        for name in wanted
        if not any(held.endswith(f".dist-info/licenses/{name}") for held in names)
    ]


def _unless(rules: dict[str, bool]) -> list[str]:
    return [rule for rule, holds in rules.items() if not holds]
