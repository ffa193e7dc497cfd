"""A small workspace in a real git repository, and a way to run our commands in it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
from release import build, cli
from release.build import Built
from release.shell import Shell
from release.workspace import Repository, Workspace, find

ROOT = """
[tool.uv]
exclude-newer = "2026-11-14T00:00:00Z"

[tool.uv.workspace]
members = ["packages/*", "tools/*"]

[tool.mypy]
strict = true
"""
MEMBER = """
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "{version}"
description = "A package to try the release tool on"
readme = "README.md"
requires-python = ">=3.11"
license = "MIT"
license-files = ["LICENSE"]
authors = [{{ name = "Quintet contributors" }}]
keywords = ["example"]
classifiers = [
    "Development Status :: 4 - Beta",
    "Intended Audience :: Developers",
    "Programming Language :: Python :: 3.11",
    "Typing :: Typed",{private}
]
dependencies = [{dependencies}]

[project.optional-dependencies]
dev = ["pytest>=8.4"]
plot = ["matplotlib>=3.9"]
trainer = ["lightning>=2.4"]

[project.urls]
Original = "https://example.org/{name}"

[tool.hatch.build.targets.wheel]
packages = ["src/{module}"]

[tool.hatch.build.targets.sdist]
include = ["/src", "/tests", "/README.md", "/CHANGELOG.md", "/LICENSE"]
"""
CHANGELOG = """# Changelog

The format follows [Keep a Changelog](https://keepachangelog.com/en/1.1.0/).

## [Unreleased]

## [{version}] - 2026-11-21

### Added

- The package.
"""
SOURCE = '"""A package."""\n\nfrom {module}._scale import scale\n\n__all__ = ["scale"]\n'
SCALE = '''"""Scale."""


def scale(value: float, factor: float = 2.0) -> float:
    """Multiply."""
    return value * factor
'''
TEST = "import {module}\n\n\ndef test_it_scales():\n    assert {module}.scale(2.0, 3.0) == 6.0\n"
CHECKS = '"""Checks."""\n'
IDENTITY = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_CONFIG_GLOBAL": os.devnull}


class Outcome(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last line on standard error, which is where a refusal stands."""
        return self.err.strip().splitlines()[-1]


@dataclass
class Tree:
    """A workspace under git: packages alpha 0.2.0 and alpha-beta 1.1.0, the tool kit."""

    root: Path

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.root, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, encoding="utf-8")

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.root / path).read_text(encoding="utf-8")
        assert old in text
        self.write(path, text.replace(old, new))

    def commit(self, message: str = "alpha: change") -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.root)

    @property
    def repository(self) -> Repository:
        return Repository(Shell(self.root))

    def snapshot(self) -> dict[str, bytes]:
        """Every file outside .git."""
        files = (path for path in self.root.rglob("*") if path.is_file() and ".git" not in path.parts)
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in files}


def add_member(tree: Tree, path: str, module: str, version: str, *, private: bool = False) -> None:
    name = path.split("/")[1]
    classifier = '\n    "Private :: Do Not Upload",' if private else ""
    tree.write(
        f"{path}/pyproject.toml",
        MEMBER.format(name=name, module=module, version=version, private=classifier, dependencies=""),
    )
    tree.write(f"{path}/README.md", f"# {name}\n\nSee [the original](https://example.org).\n")
    tree.write(f"{path}/CHANGELOG.md", CHANGELOG.format(version=version))
    tree.write(f"{path}/LICENSE", "MIT\n")
    tree.write(f"{path}/src/{module}/__init__.py", SOURCE.format(module=module))
    tree.write(f"{path}/src/{module}/_scale.py", SCALE)
    tree.write(f"{path}/src/{module}/_checks.py", CHECKS)
    tree.write(f"{path}/src/{module}/py.typed", "")
    tree.write(f"{path}/tests/test_{module}.py", TEST.format(module=module))


@pytest.fixture(scope="session", autouse=True)
def _identity():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in IDENTITY.items():
            patch.setenv(name, value)
        patch.setenv("GIT_COMMITTER_NAME", "A")
        patch.setenv("GIT_COMMITTER_EMAIL", "a@example.org")
        patch.delenv("GITHUB_ACTIONS", raising=False)
        yield


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, _identity) -> Path:
    tree = Tree(tmp_path_factory.mktemp("template") / "repo")
    tree.write("pyproject.toml", ROOT)
    tree.write(".gitignore", "uv.lock\ndist/\n__pycache__/\n")
    tree.write("README.md", "# Example\n")
    tree.write("docs/index.md", "# Docs\n")
    add_member(tree, "packages/alpha", "alpha", "0.2.0")
    add_member(tree, "packages/alpha-beta", "alphabeta", "1.1.0")
    add_member(tree, "tools/kit", "kit", "0.0.0", private=True)
    tree.git("init", "--quiet", "--initial-branch=main")
    tree.commit("workspace: start")
    return tree.root


@pytest.fixture(scope="session")
def repository_root() -> Path:
    """The workspace that these tests belong to."""
    return find(Path(__file__)).root


@pytest.fixture
def tree(template: Path, tmp_path: Path) -> Tree:
    """A fresh copy of the workspace on its first commit."""
    shutil.copytree(template, tmp_path / "repo")
    return Tree(tmp_path / "repo")


@pytest.fixture(scope="session")
def built(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Wheel and sdist of alpha, really built."""
    workspace = Workspace(template)
    target = tmp_path_factory.mktemp("dist") / "alpha"
    made = build.build(workspace, workspace.package("alpha"), Shell(template), target)
    assert made is not None
    return made


@pytest.fixture
def run(tree: Tree, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run a console command in the workspace, as from a shell."""
    mains = {"affected": cli.affected, "release": cli.main, "check": cli.check}

    def start(command: str, *arguments: str, where: Path | None = None) -> Outcome:
        monkeypatch.chdir(where or tree.root)
        monkeypatch.setattr(sys, "argv", [command, *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as leaving:
            mains[command]()
        out, err = capfd.readouterr()
        return Outcome(int(leaving.value.code or 0), out, err)

    return start
