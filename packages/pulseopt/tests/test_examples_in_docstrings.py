"""The examples in the docstrings of the installed package run, and show what they show."""

import doctest
import importlib
import pkgutil

import pulseopt
import pytest
from pulseopt import AEES

ENTRIES = [
    AEES.find_rate,
    AEES.attach,
    *(entry for name in pulseopt.__all__ if callable(entry := getattr(pulseopt, name))),
]
NAMES = [info.name for info in pkgutil.walk_packages(pulseopt.__path__, "pulseopt.")]


@pytest.mark.parametrize("name", NAMES)
def test_examples_run(name):
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        pytest.skip(f"needs an extra: {error}")
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


@pytest.mark.parametrize("entry", ENTRIES)
def test_each_public_entry_point_has_an_example(entry):
    assert doctest.DocTestFinder(recurse=False).find(entry)[0].examples
