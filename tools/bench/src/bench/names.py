"""Names typed by a user: the error for an unknown one suggests the nearest known ones."""

import difflib
from collections.abc import Iterable


def refuse_unknown(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuses the first of ``names`` that is not among ``known``.

    Raises:
        ValueError: there is one; the message lists what is known and offers the nearest.
    """
    known = list(known)
    for name in names:
        if name not in known:
            raise ValueError(f"{kind} must be one of {', '.join(known)}, got {name!r}{nearest(name, known)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns ``"; did you mean …?"`` with the names most like ``name``, or nothing where none is like it."""
    found = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(found)}?" if found else ""
