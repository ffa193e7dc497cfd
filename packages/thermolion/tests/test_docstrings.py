"""Every example of a docstring runs and prints what it says; the class that users import has one."""

import doctest

import pytest
import torch
from thermolion import ThermoLion, optimizers


def run(text, name):
    """Return how many examples failed and how many ran."""
    test = doctest.DocTestParser().get_doctest(text, {}, name, None, 0)
    return doctest.DocTestRunner(verbose=False).run(test, out=lambda _: None)


def test_the_examples_run():
    torch.manual_seed(0)
    result = doctest.testmod(optimizers, extraglobs={})
    assert result.failed == 0
    assert result.attempted >= 4


@pytest.mark.parametrize("name", ["ThermoLion"])
def test_the_public_class_has_an_example(name):
    assert ">>>" in getattr(optimizers, name).__doc__


def test_a_wrong_example_fails():
    wrong = ThermoLion.__doc__.replace("True\n", "False\n")
    assert wrong != ThermoLion.__doc__
    assert run(wrong, "wrong").failed == 1
    assert run(ThermoLion.__doc__, "right").failed == 0
