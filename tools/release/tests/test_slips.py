"""Every slip of a user is one line and exit code 2, in each of the three commands."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from release import plan

SLIPS = [
    ("release", ("lst",), "did you mean 'list'"),
    ("release", ("bump", "alpha"), "missing argument"),
    ("release", ("bump", "alpha", "minr"), "'minr' is not one of"),
    ("release", ("bump", "alpa", "minor"), "did you mean alpha"),
    ("release", ("plan", "--tga", "x"), "no such option: --tga"),
    ("release", ("build", "nobody"), "must be one of alpha, alpha-beta"),
    ("release", ("publish", "alpha"), ""),
    ("check", ("--only", "rufff"), "--only must begin one of"),
    ("check", ("--only", "boundarys"), "did you mean boundaries"),
    ("affected", ("--base", "no-such-commit"), "--base must be a commit"),
    ("affected", ("--bsae", "main"), "no such option: --bsae"),
]


def said(outcome):
    """What was said beside the commands that were printed."""
    lines = [line for line in outcome.err.splitlines() if not line.startswith("$ ")]
    assert len(lines) == 1, outcome.err
    return lines[0]


@pytest.mark.parametrize(("command", "words", "message"), SLIPS, ids=lambda value: str(value)[:40])
def test_a_slip_is_one_line_and_exit_code_2(command, words, message, run, tree):
    before = tree.snapshot()
    outcome = run(command, *words)
    assert outcome.code == 2
    assert said(outcome).startswith(f"{command}: ")
    assert message.lower() in said(outcome).lower()
    assert outcome.out == ""
    assert tree.snapshot() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[project\n", "packages/alpha/pyproject.toml must be TOML in UTF-8"),
        (b"\xff\xfe", "packages/alpha/pyproject.toml must be TOML in UTF-8"),
        (b"", "packages/alpha/pyproject.toml must have a [project] table with a name"),
        (b'[project]\nname = "alpha"\nversion = "one"\n', "must be a PEP 440 version, got 'one'"),
    ],
)
def test_a_broken_pyproject_is_one_line(text, message, run, tree):
    (tree.root / "packages/alpha/pyproject.toml").write_bytes(text)
    outcome = run("release", "list")
    assert outcome.code == 2
    assert message in said(outcome)


def test_a_folder_outside_any_workspace_is_one_line(run, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    outcome = run("release", "list", where=tmp_path / "elsewhere")
    assert outcome.code == 2
    assert "lies in no uv workspace" in said(outcome)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_takes_nothing_is_one_line(number, run, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(number, os.strerror(number), "packages/alpha/CHANGELOG.md")

    monkeypatch.setattr(plan, "bump", refuse)
    outcome = run("release", "bump", "alpha", "minor")
    assert outcome.code == 2
    assert said(outcome) == f"release: packages/alpha/CHANGELOG.md: {os.strerror(number)}"


def test_a_fault_of_the_tool_keeps_its_traceback(monkeypatch, tree):
    from release import cli

    def broken(*args):
        raise KeyError("planted")

    monkeypatch.chdir(tree.root)
    monkeypatch.setattr(plan, "rows", broken)
    monkeypatch.setattr(sys, "argv", ["release", "list"])
    with pytest.raises(KeyError, match="planted"):
        cli.main()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_every_encoding_is_spoken(encoding, tree):
    tree.edit("packages/alpha/CHANGELOG.md", "- The package.", "- Noise of deviation σ ≥ 0 – at last.")
    code = "from release.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "notes", "alpha"],
        cwd=tree.root,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(rb"Noise of deviation \\u03c3 \\u2265 0", done.stdout)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_behind_standard_output_is_one_line(tree):
    code = "from release.cli import main; main()"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, "notes", "alpha"],
            cwd=tree.root,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == f"release: the output: {os.strerror(errno.ENOSPC)}\n"
