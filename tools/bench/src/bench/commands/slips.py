"""User errors, reported in one line on standard error with exit code 2; errors of the bench keep their traceback.

BENCH_TRACEBACK=1 shows the traceback of a slip as well.
Exit codes: 0, done; 1, the answer is no (a replay that differs) or a run of a built-in workload broke; 2, a slip.
"""

import errno
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from typer.core import TyperGroup

from bench.execute.events import OwnTaskFailedError, RunFailedError
from bench.names import nearest

SLIP = 2


class OneLineErrors(TyperGroup):
    """A group of commands whose errors are one line where the user can act on them."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Runs a command line and exits with its code."""
        run = partial(super().main, args, prog_name, complete_var, False, windows_expand_args, **extra)
        if not standalone_mode:
            return run()
        try:
            code = run() or 0
            sys.stdout.flush()  # a full disk shows here at the latest
        except Exception as error:
            line, code = explain(error)
            if not line or os.environ.get("BENCH_TRACEBACK"):
                raise
            _say(f"bench: {line}")
        sys.exit(code)


def explain(error: Exception) -> tuple[str, int]:
    """Returns the line that says what to do about an error, and the exit code; no line where it is the bench's."""
    if isinstance(error, OSError):
        return _of_the_system(error), SLIP
    if (usage := getattr(error, "format_message", None)) is not None:  # of typer, whichever click it carries
        return _folded(usage()), SLIP
    if isinstance(error, RunFailedError) and not isinstance(error, OwnTaskFailedError):
        return str(error), 1
    if isinstance(error, ValueError | RuntimeError) and not isinstance(error, NotImplementedError | RecursionError):
        return _folded(str(error)), SLIP
    return "", 1


def _of_the_system(error: OSError) -> str:
    path = "" if error.filename is None else str(error.filename)
    where = path or "the output"
    if error.errno == errno.ENOENT:
        return f"{where} does not exist{_alike(Path(path))}"
    if error.errno == errno.EISDIR:
        return f"{where} is a folder; name a file inside it"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"{where} must lie in a folder, and a file has the folder's name; choose another path"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{where} may not be read or written ({error.strerror}); change its rights, or choose another path"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space is left on the disk for {where}; free some and repeat the command: finished runs are kept"
    return _folded(f"{where}: {error.strerror or error}")


def _alike(path: Path) -> str:
    """Offers files of the same folder with a like name."""
    try:
        names = [found.name for found in path.parent.iterdir()]
    except OSError:
        return f"; neither does the folder {path.parent}"
    return nearest(path.name, names)


def _folded(text: str) -> str:
    return " ".join(text.split())


def _say(line: str) -> None:
    from bench.commands.console import stderr

    stderr.print(line, markup=False, highlight=False, soft_wrap=True)
