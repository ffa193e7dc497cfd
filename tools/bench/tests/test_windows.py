"""The bench starts, runs and locks where what Windows lacks is missing: modules, functions, fork."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

WINDOWS = """
import importlib.abc
import sys

LACKING = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog"}


class Lacking(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in LACKING:
            raise ModuleNotFoundError(f"No module named {name!r}, as on Windows", name=name)
        return None


for name in LACKING:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Lacking())

import os

for name in ("fork", "forkpty", "sched_getaffinity", "getloadavg", "getuid", "geteuid", "getgid", "setsid", "killpg",
             "mkfifo", "wait3", "wait4"):
    if hasattr(os, name):
        delattr(os, name)
import signal

for name in ("SIGKILL", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGSTOP", "SIGCONT"):
    if hasattr(signal, name):
        delattr(signal, name)
"""


def bench(*words, cwd, code="from bench.cli import main; main()"):
    """Runs the bench in a process, and processes below it, that lack what Windows lacks."""
    (cwd / "site").mkdir(exist_ok=True)
    (cwd / "site" / "sitecustomize.py").write_text(WINDOWS)
    environment = {**os.environ, "PYTHONPATH": str(cwd / "site"), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_the_simulation_lacks_them(tmp_path):
    done = bench(cwd=tmp_path, code="import os; print(hasattr(os, 'fork')); import fcntl")
    assert done.stdout == "False\n"
    assert "as on Windows" in done.stderr


@pytest.mark.parametrize("words", [("--help",), ("list",), ("report", "nothing.jsonl")], ids=" ".join)
def test_a_command_starts(words, tmp_path):
    done = bench(*words, cwd=tmp_path)
    assert done.returncode == (2 if "report" in words else 0), done.stderr
    assert "Traceback" not in done.stderr


def test_a_profile_runs_in_spawned_processes_and_resumes(tmp_path):
    words = ("run", "--profile", "smoke", "--methods", "sgd", "--workloads", "diamonds", "--workers", "1", "--out", "o")
    done = bench(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "report: " in done.stdout
    assert "0 runs made" in bench(*words, cwd=tmp_path).stdout


def test_two_writers_are_refused(tmp_path):
    code = "from pathlib import Path; from bench.records.store import Store; a = Store(Path('r')); b = Store(Path('r'))"
    done = bench(cwd=tmp_path, code=code)
    assert "being written by another bench" in done.stderr
    code = "from pathlib import Path; from bench.records.store import Store; Store(Path('r')).close(); Store(Path('r'))"
    done = bench(cwd=tmp_path, code=code)
    assert done.returncode == 0, done.stderr


def test_no_source_imports_what_windows_lacks():
    root = Path(__file__).parents[3]
    sources = [*root.glob("packages/*/src/**/*.py"), *root.glob("tools/*/src/**/*.py")]
    assert len(sources) > 100
    for path in sources:
        text = path.read_text(encoding="utf-8")
        for name in ("fcntl", "resource", "pwd", "grp", "termios"):
            assert f"import {name}\n" not in text, f"{path} imports {name}"
