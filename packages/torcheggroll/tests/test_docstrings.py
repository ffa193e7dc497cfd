"""Every example in a docstring runs and gives what it says."""

import doctest
import importlib
import pkgutil

import pytest
import torcheggroll

MODULES = [
    found.name
    for found in pkgutil.walk_packages(torcheggroll.__path__, "torcheggroll.")
    if not any(word in found.name for word in ("cuda", "triton", "gpu"))  # need Triton
]
EXAMPLES = [
    pytest.param(example, id=example.name)
    for name in MODULES
    for example in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    if example.examples
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs(example):
    if "gymnasium" in example.docstring:
        pytest.importorskip("gymnasium", reason="needs Gymnasium")
    assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example).failed == 0


def test_the_entry_points_have_an_example():
    shown = {example.values[0].name for example in EXAMPLES}
    wanted = ["es.TorchEggrollES", "es.TorchEggrollES.ask", "rl.policy.PolicySearch", "recurrent.PersistentES"]
    wanted += ["integer.es.IntegerEggroll", "filters.target_modules"]
    assert {f"torcheggroll.{name}" for name in wanted} <= shown


@pytest.mark.parametrize("name", ["torcheggroll", "torcheggroll.rl", "torcheggroll.integer", "torcheggroll.generation"])
def test_every_exported_name_has_an_example(name):
    module = importlib.import_module(name)
    exported = [getattr(module, each) for each in module.__all__ if each != "Actor"]  # a type
    assert [each.__name__ for each in exported if ">>>" not in (each.__doc__ or "")] == []


def test_a_wrong_example_fails():
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    assert doctest.DocTestRunner(verbose=False).run(wrong, out=lambda _: None).failed == 1
