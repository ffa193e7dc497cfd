"""The console that commands print to."""

import codecs
import sys
import unicodedata
from typing import TextIO

from rich.console import Console

console = Console()
stderr = Console(stderr=True)
PLAIN = {
    **{"–": "-", "—": "-", "−": "-", "·": "-", "’": "'", "“": '"', "”": '"', "→": "->", "×": "x", "±": "+/-"},
    **{"≥": ">=", "≤": "<=", "≠": "!=", "≈": "~", "√": "sqrt ", "µ": "u", "σ": "sigma", "τ": "tau"},
}


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Writes what an encoding lacks in letters that every encoding has."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(letter) or _ascii(letter) or "?" for letter in lacking), error.end


def _ascii(letter: str) -> str:
    """Returns a letter without its accent, a digit without its height, or nothing."""
    return unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()


def speak_plainly(streams: tuple[TextIO, ...] | None = None) -> None:
    """Lets standard output and error replace letters that their encoding lacks, instead of failing on them."""
    codecs.register_error("plainly", _plainly)
    for stream in streams or (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # a captured stream may have none
        if reconfigure is not None:
            reconfigure(errors="plainly")


def is_live(plain: bool) -> bool:
    """Returns whether to redraw a table in place: in a notebook or on a terminal that can, unless lines are wanted."""
    return not plain and (console.is_jupyter or (console.is_terminal and not console.is_dumb_terminal))
