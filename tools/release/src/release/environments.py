"""Fresh environments: made with uv under a temporary folder, hard-linked to its cache, thrown away."""

import json
import os
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from release.exits import Exit, Refusal
from release.shell import Shell, uv


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

    def install(self, *arguments: str | Path, code: Exit = Exit.DEPENDENCIES) -> None:
        """Install requirements with ``uv pip install``."""
        command: list[str | Path] = [uv(), "pip", "install", "--quiet", "--python", self.python]
        self.shell.run(*command, *arguments, cwd=self.folder.parent, env=self.settings, code=code)

    def check(self) -> None:
        """Have uv say whether every declared dependency is met."""
        command: list[str | Path] = [uv(), "pip", "check", "--quiet", "--python", self.python]
        self.shell.run(*command, cwd=self.folder.parent, env=self.settings, code=Exit.DEPENDENCIES)

    def isolated(self, script: str, *arguments: str, code: Exit, why: str = "") -> None:
        """Run a script without the current folder, user site or PYTHON variables."""
        self.shell.run(self.python, "-I", script, *arguments, cwd=self.folder.parent, code=code, why=why)

    def versions(self) -> dict[str, str]:
        """Ask uv what is installed."""
        listing = self.shell.query(uv(), "pip", "list", "--python", self.python, "--format", "json")
        return {line["name"]: line["version"] for line in json.loads(listing)}

    def test(self, sdist: Path | None, name: str) -> None:
        """Run an sdist's tests against what is installed here; its sources are not unpacked."""
        unpacked = self.folder.parent / f"{self.folder.name}-tests"
        if sdist is not None:
            unpack_tests(sdist, unpacked)
        options = ["-q", "--import-mode=importlib", "--strict-markers", "-p", "no:cacheprovider", "-m", "not slow"]
        marker = ["-o", "markers=slow: longer than ten seconds, or needs an extra"]
        why = f"the tests of {name}'s sdist must pass against its wheel; their output is above"
        command: list[str | Path] = [self.python, "-I", "-m", "pytest", *options, *marker, "tests"]
        self.shell.run(*command, cwd=unpacked, code=Exit.TESTS, why=why)


def create(folder: Path, version: str, shell: Shell, settings: dict[str, str]) -> Environment:
    """Make an empty environment for a Python such as ``3.12``."""
    shell.run(uv(), "venv", "--quiet", "--python", interpreter(version), folder, cwd=folder.parent, env=settings)
    return Environment(folder, shell, settings)


def interpreter(version: str) -> str:
    """Find an interpreter of this version: one that uv knows, on PATH, or among pyenv's.

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
    raise Refusal(Exit.NO_INTERPRETER, f"Python {version} must be installed; none on PATH, of uv or of pyenv starts")


def unpack_tests(sdist: Path, target: Path) -> None:
    """Unpack an sdist, without ``src``: what the tests import must be what is installed."""
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
