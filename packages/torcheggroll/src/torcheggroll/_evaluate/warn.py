"""Warnings of a run, each shown once, at the user's line that led to it."""

import warnings
from inspect import currentframe


class WarnOnce:
    """Warns once per subject.

    Args:
        silent: never warn, for trials that the user did not ask for.
    """

    def __init__(self, silent: bool = False) -> None:
        self._silent = silent
        self._said: set[str] = set()

    def __call__(self, subject: str, message: str) -> None:
        """Warns with ``message``, unless ``subject`` was warned about before."""
        if subject not in self._said and not self._silent:
            self._said.add(subject)
            warnings.warn(message, stacklevel=_level_of_user())


def _level_of_user() -> int:
    """Counts the frames up to the first outside this package and torch."""
    level, frame = 0, currentframe()
    while frame is not None and frame.f_globals["__name__"].partition(".")[0] in ("torcheggroll", "torch"):
        level, frame = level + 1, frame.f_back
    return level
