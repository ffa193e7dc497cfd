"""Where commands print, and how a user's slip becomes one line."""

from collections.abc import Callable

from rich.console import Console

from bench.execute.engine import RunFailedError
from bench.workloads.data.source import DriftedDataError

console = Console()
stderr = Console(stderr=True)
KNOWN_ERRORS = (ValueError, DriftedDataError, RunFailedError, RuntimeError, FileNotFoundError)


def guarded(act: Callable[[], int]) -> int:
    """Runs a command; an error the user can act on is one line, not a traceback."""
    try:
        return act()
    except KNOWN_ERRORS as error:
        stderr.print(f"bench: {error}", markup=False, highlight=False, soft_wrap=True)
        return 1
