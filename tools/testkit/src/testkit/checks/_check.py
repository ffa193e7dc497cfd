"""The decorator that turns a function into a check with fixed seeds and a uniform failure message."""

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

import pytest

from testkit import streams
from testkit.case import Case, TrialCase

C = TypeVar("C", bound=Case | TrialCase)


class FailedCheckError(AssertionError):
    """The expectation, and what came instead."""

    def __init__(self, expected: str, came: str) -> None:
        super().__init__(f"expected {expected}, but {came}")
        self.expected = expected
        self.came = came


def expect(holds: bool, expected: str, came: str) -> None:
    """Raises where ``holds`` is false: ``expected`` completes "expected …", ``came`` completes "but …"."""
    __tracebackhide__ = True
    if not holds:
        raise FailedCheckError(expected, came)


def check(body: Callable[[C], None]) -> Callable[[C], None]:
    """Wraps a check's body: same seeds every time, random streams restored, one format of failure message.

    Any other exception of ``body`` is reported in the same format, with that exception as its cause.
    """

    @wraps(body)
    def checked(case: C) -> None:
        __tracebackhide__ = True
        name = body.__name__.replace("_", " ")
        try:
            with streams.seeded(20):
                body(case)
        except FailedCheckError as failed:
            raise AssertionError(_message(name, case, failed.expected, failed.came)) from None
        except pytest.skip.Exception:
            raise
        except Exception as error:
            came = f"{type(error).__name__} was raised: {error}"
            raise AssertionError(_message(name, case, "no exception", came)) from error

    return checked


def _message(name: str, case: Case | TrialCase, expected: str, came: str) -> str:
    return f"failed check: {name}\n  case:     {case}\n  expected: {expected}\n  but:      {came}"
