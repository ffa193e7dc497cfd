"""Commands: each is printed before it runs, a dry run runs only those that read, and a refusal is one line."""

import difflib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path


class Exit(IntEnum):
    """Exit codes of ``release``, ``check`` and ``affected``."""

    FINE = 0
    REFUSED = 1
    BROKEN = 2


class Refusal(Exception):  # noqa: N818  a refusal is a result of the program, not an error in it
    """A rule does not hold; the message is one line: what must hold, what came, what to do."""

    code = Exit.REFUSED

    def __init__(self, message: str) -> None:
        """Folds the line breaks of the message away."""
        super().__init__(" ".join(message.split()))


class Broken(Refusal):
    """The command cannot answer: its arguments are wrong, or a program it needs fails or is missing."""

    code = Exit.BROKEN


@dataclass(frozen=True)
class Shell:
    """Where commands run by default, and whether those that write run at all."""

    root: Path
    dry_run: bool = False

    def query(self, *command: str | Path, cwd: Path | None = None) -> str:
        """Runs a command that only reads, in a dry run too; returns its standard output.

        Raises:
            Broken: it failed.
        """
        done = self._start(command, cwd, {}, capture=True)
        if done.returncode:
            raise Broken(f"`{said(command)}` failed: {tail(done.stderr)}")
        return done.stdout

    def succeeds(self, *command: str | Path, cwd: Path | None = None) -> bool:
        """Runs a command that only reads; tells whether it exited with 0."""
        return self._start(command, cwd, {}, capture=True).returncode == 0

    def run(
        self,
        *command: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        why: str = "",
    ) -> None:
        """Runs a command that writes or takes long; a dry run only prints it.

        Raises:
            Refusal: it failed, and ``why`` names the rule that does not hold.
            Broken: it failed, and no rule is named.
        """
        if self.run_status(*command, cwd=cwd, env=env):
            raise Refusal(why) if why else Broken(f"`{said(command)}` failed: its output is above")

    def run_status(self, *command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> int:
        """Runs like ``run``; returns the exit status, 0 in a dry run."""
        if self.dry_run:
            self._say(command, cwd, env or {})
            return 0
        return self._start(command, cwd, env or {}, capture=False).returncode

    def _start(
        self, command: tuple[str | Path, ...], cwd: Path | None, env: Mapping[str, str], *, capture: bool
    ) -> subprocess.CompletedProcess[str]:
        self._say(command, cwd, env)
        try:
            return subprocess.run(
                [str(part) for part in command],
                cwd=cwd or self.root,
                env={**os.environ, **env},
                stdout=subprocess.PIPE if capture else 2,
                stderr=subprocess.PIPE if capture else None,
                text=True,
                check=False,
            )
        except OSError as error:
            raise Broken(f"`{command[0]}` does not run: {error.strerror}") from error

    def _say(self, command: tuple[str | Path, ...], cwd: Path | None, env: Mapping[str, str]) -> None:
        settings = "".join(f"{name}={shlex.quote(value)} " for name, value in env.items())
        place = "" if cwd in (None, self.root) else f"(in {cwd}) "
        tell(f"$ {place}{settings}{said(command)}")


def said(command: tuple[str | Path, ...]) -> str:
    """Writes the command as one would type it; a program of an environment by its name alone."""
    program = Path(command[0]).name if Path(command[0]).parent == Path(sys.executable).parent else str(command[0])
    return shlex.join([program, *(str(part) for part in command[1:])])


def tell(line: str) -> None:
    """Prints a line of progress on standard error; standard output is for results."""
    print(line, file=sys.stderr, flush=True)


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns ``"; did you mean …?"`` with the names most like ``name``, or nothing where none is like it."""
    found = difflib.get_close_matches(name, list(known), n=3)
    return f"; did you mean {' or '.join(found)}?" if found else ""


def tail(output: str) -> str:
    """Returns the last line that says something."""
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"


def program(name: str) -> str:
    """Finds a program: beside this Python first, then on PATH.

    Raises:
        Broken: it is in neither place.
    """
    found = shutil.which(name, path=Path(sys.executable).parent) or shutil.which(name)
    if found is None:
        raise Broken(f"`{name}` is not installed; run this through `uv run`")
    return found


def uv() -> str:
    """Finds uv: the one that runs us, or the one on PATH."""
    return os.environ.get("UV") or program("uv")
