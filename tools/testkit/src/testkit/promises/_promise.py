"""What makes a function a promise: it passes in silence, or says which promise which case broke, and how."""

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

import pytest

from testkit import streams
from testkit.case import Case, TrialCase

C = TypeVar("C", bound=Case | TrialCase)


class BrokenPromiseError(AssertionError):
    """What was expected, and what came instead."""

    def __init__(self, expected: str, came: str) -> None:
        super().__init__(f"expected {expected}, but {came}")
        self.expected = expected
        self.came = came


def expect(holds: bool, expected: str, came: str) -> None:
    """Raise where ``holds`` is false: ``expected`` completes "expected …", ``came`` completes "but …"."""
    __tracebackhide__ = True
    if not holds:
        raise BrokenPromiseError(expected, came)


def promise(check: Callable[[C], None]) -> Callable[[C], None]:
    """Make a promise of a check: the same seeds each time, put back afterwards, and a message that says it all.

    Whatever else ``check`` raises is reported the same way, with the exception as its cause.
    """

    @wraps(check)
    def promised(case: C) -> None:
        __tracebackhide__ = True
        name = check.__name__.replace("_", " ")
        try:
            with streams.seeded(20):
                check(case)
        except BrokenPromiseError as broken:
            raise AssertionError(_message(name, case, broken.expected, broken.came)) from None
        except pytest.skip.Exception:
            raise
        except Exception as error:
            came = f"{type(error).__name__} was raised: {error}"
            raise AssertionError(_message(name, case, "no exception", came)) from error

    return promised


def _message(name: str, case: Case | TrialCase, expected: str, came: str) -> str:
    return f"broken promise: {name}\n  case:     {case}\n  expected: {expected}\n  but:      {came}"
