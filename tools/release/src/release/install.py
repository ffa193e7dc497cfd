"""Fresh environments: a package as a user installs it, at its newest and at its lowest dependencies."""

import json
import os
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from release import build, imports, stranger
from release.build import Built
from release.shell import Broken, Refusal, Shell, program, tell, uv
from release.workspace import Member, Repository, Workspace


@dataclass(frozen=True)
class Environment:
    """A virtual environment and the way commands run in it."""

    folder: Path
    shell: Shell
    settings: dict[str, str]

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def activated(self) -> dict[str, str]:
        """What activating it sets."""
        path = os.pathsep.join([str(self.python.parent), os.environ.get("PATH", "")])
        return {"VIRTUAL_ENV": str(self.folder), "PATH": path}

    def install(self, *arguments: str | Path) -> None:
        """Installs requirements with ``uv pip install``."""
        command: list[str | Path] = [uv(), "pip", "install", "--quiet", "--python", self.python]
        self.shell.run(*command, *arguments, cwd=self.folder.parent, env=self.settings)

    def check(self) -> None:
        """Has uv say whether every declared dependency is met."""
        command: list[str | Path] = [uv(), "pip", "check", "--quiet", "--python", self.python]
        self.shell.run(*command, cwd=self.folder.parent, env=self.settings)

    def isolated(self, script: str, *arguments: str, why: str = "") -> None:
        """Runs a script without the current folder, user site or PYTHON variables."""
        self.shell.run(self.python, "-I", script, *arguments, cwd=self.folder.parent, why=why)

    def versions(self) -> dict[str, str]:
        """Asks uv what is installed."""
        listing = self.shell.query(uv(), "pip", "list", "--python", self.python, "--format", "json")
        return {line["name"]: line["version"] for line in json.loads(listing)}

    def test(self, sdist: Path | None, name: str) -> None:
        """Runs an sdist's tests against what is installed here; its sources are not unpacked."""
        unpacked = self.folder.parent / f"{self.folder.name}-tests"
        if sdist is not None:
            unpack_tests(sdist, unpacked)
        options = ["-q", "--import-mode=importlib", "--strict-markers", "-p", "no:cacheprovider", "-m", "not slow"]
        marker = ["-o", "markers=slow: longer than ten seconds, or needs an extra"]
        why = f"the tests of {name}'s sdist must pass against its wheel; their output is above"
        command: list[str | Path] = [self.python, "-I", "-m", "pytest", *options, *marker, "tests"]
        self.shell.run(*command, cwd=unpacked, why=why)


def create(folder: Path, version: str, shell: Shell, settings: dict[str, str]) -> Environment:
    """Makes an empty environment for a Python such as ``3.12``."""
    shell.run(uv(), "venv", "--quiet", "--python", interpreter(version), folder, cwd=folder.parent, env=settings)
    return Environment(folder, shell, settings)


def interpreter(version: str) -> str:
    """Finds an interpreter of this version: one that uv knows, on PATH, or among pyenv's.

    pyenv's shims exist for versions that are not active and then fail to start, so each candidate is tried.

    Raises:
        Refusal: none starts.
    """
    folders = os.environ.get("PATH", "").split(os.pathsep)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [str(Path(folder) / f"python{version}") for folder in folders]
    candidates += [str(path / "bin" / "python") for path in sorted(pyenv.glob(f"{version}.*"), reverse=True)]
    for candidate in candidates:
        if _answers(candidate, version):
            return candidate
    found = subprocess.run(
        [uv(), "python", "find", "--no-python-downloads", version], capture_output=True, text=True, check=False
    )
    if found.returncode == 0:
        return found.stdout.strip()
    raise Broken(f"Python {version} must be installed; none on PATH, of uv or of pyenv starts")


def unpack_tests(sdist: Path, target: Path) -> None:
    """Unpacks an sdist, without ``src``: what the tests import must be what is installed."""
    with tarfile.open(sdist) as archive:
        for member in archive.getmembers():
            inside = member.name.partition("/")[2]
            if inside and not inside.startswith("src/"):
                archive.extract(member.replace(name=inside, deep=False), target, filter="data")


def _answers(candidate: str, version: str) -> bool:
    try:
        done = subprocess.run(
            [candidate, "-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def check(workspace: Workspace, member: Member, shell: Shell, version: str) -> None:
    """Checks a package from its built files, in an environment of one Python version.

    Raises:
        Refusal: the first thing that is wrong.
    """
    with tempfile.TemporaryDirectory(prefix="release-check-") as name:
        scratch = Path(name)
        files = build.build(workspace, member, shell, scratch / "dist")
        _metadata(member, shell, files)
        _copied_out(workspace, member, shell, files, scratch)
        _declared(workspace, member, shell)
        clean = create(scratch / "clean", version, shell, build.uv_settings(workspace))
        clean.install(files.wheel if files else f"{member.name}.whl")
        clean.check()
        why = f"{member.name} must import only what it declares; what it loaded besides is above"
        clean.isolated(stranger.__file__, member.name, member.module, why=why)
        clean.install(f"{files.wheel if files else member.name}[dev]")
        clean.test(files.sdist if files else None, member.name)
        extras = imports.used_extras(member)
        if extras:
            clean.install(f"{files.wheel if files else member.name}[{','.join(extras)}]")
        _types(member, shell, clean)
    tell(f"{member.name} {member.version} is fit to be published")


def _metadata(member: Member, shell: Shell, files: Built | None) -> None:
    paths = [*files] if files else [Path("*.whl"), Path("*.tar.gz")]
    shell.run(program("twine"), "--no-color", "check", "--strict", *paths)
    shell.run(program("validate-pyproject"), member.folder / "pyproject.toml")
    shell.run(program("check-wheel-contents"), "--package", member.source / member.module, paths[0])
    wrong = build.metadata_faults(files.wheel, member) if files else []
    if wrong:
        raise Refusal("; ".join(wrong))
    tell("summary, keywords, classifiers, URLs, license, extras, README links: complete")


def _copied_out(workspace: Workspace, member: Member, shell: Shell, files: Built | None, scratch: Path) -> None:
    alone = scratch / "alone"
    tracked = Repository(shell).files(member.path)
    build.copy_tracked(workspace.root, tracked, alone)
    command: list[str | Path] = [
        uv(),
        "build",
        "--quiet",
        "--wheel",
        alone / member.path,
        "--out-dir",
        scratch / "alone-dist",
    ]
    shell.run(*command, cwd=scratch, env=build.uv_settings(workspace))
    if files and build.digest(scratch / "alone-dist" / files.wheel.name) != build.digest(files.wheel):
        raise Refusal(f"{files.wheel.name} differs when the folder is copied out of the repository")
    tell(f"{member.path} builds the same wheel when copied out of the repository")


def _declared(workspace: Workspace, member: Member, shell: Shell) -> None:
    paths = [path for path in Repository(shell).files(f"{member.path}/src") if path.endswith(".py")]
    wrong = [fault for path in paths for fault in imports.faults(workspace, path)]
    if wrong:
        raise Refusal("; ".join(wrong))


def _types(member: Member, shell: Shell, clean: Environment) -> None:
    command = [program("pyright"), "--verifytypes", member.module, "--ignoreexternal"]
    why = f"the public types of {member.module} must be 100 % complete; what is missing is above"
    shell.run(*command, cwd=clean.folder.parent, env=clean.activated, why=why)


def lowest(member: Member, python: str) -> dict[str, Version]:
    """Returns the lowest version of each dependency that the package declares for one Python.

    Raises:
        Refusal: a dependency has no lower bound.
    """
    found: dict[str, Version] = {}
    for line in member.requires:
        if line.marker is None or line.marker.evaluate(
            {"python_version": python, "python_full_version": f"{python}.0"}
        ):
            found[line.name] = _bound(line)
    return found


def try_floors(workspace: Workspace, member: Member, shell: Shell, python: str) -> None:
    """Installs the lowest declared versions, prints and compares them, and runs the sdist's tests.

    Raises:
        Refusal: what was installed is higher than declared, or a test fails.
    """
    wanted = lowest(member, python)
    with tempfile.TemporaryDirectory(prefix="release-floors-") as name:
        scratch = Path(name)
        files = build.build(workspace, member, shell, scratch / "dist")
        env = create(scratch / "floors", python, shell, build.uv_settings(workspace))
        wheel = f"{files.wheel if files else member.name}[dev]"
        # Only what is named here counts as direct, so the wheel's own lines are repeated.
        env.install("--resolution", "lowest-direct", wheel, *map(str, member.requires))
        if not shell.dry_run:
            compare(member, python, wanted, {name: Version(text) for name, text in env.versions().items()})
        env.test(files.sdist if files else None, member.name)
    tell(f"{member.name} passes its tests at its floors on Python {python}")


def compare(member: Member, python: str, wanted: dict[str, Version], got: dict[str, Version]) -> None:
    """Prints what came beside what is declared.

    Raises:
        Refusal: something higher than the lowest came.
    """
    for name, floor in wanted.items():
        print(f"{member.name} on Python {python}: {name} {got[name]}, declared >={floor}")
    higher = [name for name, floor in wanted.items() if Version(got[name].base_version) != floor]
    if higher:
        raise Refusal(f"the lowest {', '.join(higher)} must be installed; what came is printed above")


def _bound(line: Requirement) -> Version:
    bounds = [Version(part.version) for part in line.specifier if part.operator in (">=", "==", "~=")]
    if not bounds:
        raise Refusal(f"{line} must have a lower bound")
    return max(bounds)
