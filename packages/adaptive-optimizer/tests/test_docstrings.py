"""The examples in the docstrings run and print what they show."""

import doctest
import importlib
import pkgutil

import adaptive_optimizer
import pytest
from adaptive_optimizer import RULES

TRAINERS = {"lightning", "transformers"}
MODULES = [found.name for found in pkgutil.walk_packages(adaptive_optimizer.__path__, "adaptive_optimizer.")]


@pytest.fixture(autouse=True)
def registered_rules():
    """Takes back what an example registers."""
    before = {knob: dict(rules) for knob, rules in RULES.items()}
    yield
    for knob, rules in before.items():
        RULES[knob] = rules


def examples_of(module):
    return {test.name: test for test in doctest.DocTestFinder().find(module) if test.examples}


@pytest.mark.filterwarnings("ignore")  # trainers warn of their own dependencies
@pytest.mark.parametrize("name", MODULES)
def test_every_example_prints_what_it_shows(name):
    trainer = name.removeprefix("adaptive_optimizer.integrations.")
    if trainer in TRAINERS:
        pytest.importorskip(trainer, reason=f"needs {trainer}")
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in examples_of(module).values():
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


def test_each_public_entry_point_has_an_example():
    from adaptive_optimizer import adaptive_optimizer as optimizer
    from adaptive_optimizer import rules

    found = examples_of(optimizer).keys() | examples_of(rules).keys()
    assert {
        "adaptive_optimizer.adaptive_optimizer.AdaptiveOptimizer",
        "adaptive_optimizer.rules.Signal",
        "adaptive_optimizer.rules.register_rule",
    } <= found
