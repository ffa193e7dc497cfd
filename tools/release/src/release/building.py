"""Build a package twice, from the checkout and from a copy of what git tracks, and compare the files."""

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from release import contents
from release.exits import Exit, Refusal
from release.repository import Repository
from release.shell import Shell, tell, uv
from release.workspace import Member, Workspace


class Built(NamedTuple):
    """The two files that are uploaded."""

    wheel: Path
    sdist: Path


def build(workspace: Workspace, member: Member, shell: Shell, target: Path) -> Built | None:
    """Build into ``target``, which holds nothing else afterwards; None in a dry run.

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
    """Return what an earlier ``release build`` left in a folder.

    Raises:
        Refusal: it is not one wheel and one sdist.
    """
    if len([*target.glob("*.whl")]) != 1 or len([*target.glob("*.tar.gz")]) != 1:
        raise Refusal(Exit.COMMAND, f"{target} must hold one wheel and one sdist; run `release build` first")
    return _files(target)


def copy_tracked(root: Path, names: list[str], target: Path) -> None:
    """Copy files, given relative to the root, below another folder; each gets the present time."""
    for name in names:
        if (root / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, target / name)


def digest(path: Path) -> str:
    """Return a file's sha256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def uv_settings(workspace: Workspace) -> dict[str, str]:
    """Return what the root tells uv, for commands that run elsewhere."""
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
    """Refuse two folders whose wheels or sdists are not the same to the bit; print the hashes."""
    for one in _files(first):
        hashes = [digest(one), digest(second / one.name) if (second / one.name).exists() else "absent"]
        tell(f"{one.name}: sha256 {hashes[0]} from the checkout, {hashes[1]} from a copy")
        if hashes[0] != hashes[1]:
            raise Refusal(Exit.BUILDS_DIFFER, f"{one.name} differs between the checkout and a copy of tracked files")


def _hold_what_git_tracks(member: Member, files: Built, tracked: list[str]) -> None:
    inside = [name.removeprefix(f"{member.path}/") for name in tracked]
    wrong = contents.wheel_faults(files.wheel, inside) + contents.sdist_faults(files.sdist, inside)
    if wrong:
        raise Refusal(Exit.CONTENTS, "; ".join(wrong))
    tell(f"{files.wheel.name} and {files.sdist.name} hold what git tracks, and nothing else")
