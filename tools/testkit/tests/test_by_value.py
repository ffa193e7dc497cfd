"""Functions travel by value where no other process could import them."""

import importlib.util
import pickle
import subprocess
import sys

import pytest
import torch
from testkit import Case, by_value

FACTOR = 3
MODULE = """
FACTOR = 3


def triple(x):
    return FACTOR * x


class Tripler:
    def __call__(self, x):
        return triple(x)
"""


def elsewhere(value, argument):
    """Unpickle a callable in a process of its own, and return what it says to the argument."""
    program = f"import pickle, sys; print(pickle.loads(sys.stdin.buffer.read())({argument!r}))"
    answer = subprocess.run(
        [sys.executable, "-c", program], input=by_value.dumps(value), capture_output=True, check=True, timeout=120
    )
    return answer.stdout.decode().strip()


def test_a_lambda_takes_its_closure_defaults_and_globals_along():
    offset = 5
    function = pickle.loads(by_value.dumps(lambda x, scale=2, *, shift=1: FACTOR * scale * x + offset + shift))
    assert function(10) == 66
    assert function(10, scale=1, shift=0) == 35


def test_functions_and_classes_of_a_test_module_are_found_by_its_file(tmp_path, monkeypatch):
    file = tmp_path / "test_hidden.py"
    file.write_text(MODULE)
    spec = importlib.util.spec_from_file_location("some.tests.test_hidden", file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "some.tests.test_hidden", module)
    spec.loader.exec_module(module)
    assert elsewhere(module.triple, 4) == "12"
    assert elsewhere(module.Tripler(), 5) == "15"


def test_importable_things_go_by_name():
    assert pickle.loads(by_value.dumps(torch.optim.AdamW)) is torch.optim.AdamW
    assert pickle.loads(by_value.dumps(pickle.dumps)) is pickle.dumps


def test_a_case_with_a_lambda_comes_back_whole():
    case = pickle.loads(
        by_value.dumps(Case("mine", lambda params, **kw: torch.optim.SGD(params, momentum=0.9, **kw), lr=0.5))
    )
    assert str(case) == "mine"
    assert case.make([torch.nn.Parameter(torch.ones(1))]).param_groups[0]["lr"] == 0.5


def test_a_class_inside_a_function_is_refused_with_advice():
    class Local:
        pass

    with pytest.raises(pickle.PicklingError, match="define the class in its module"):
        by_value.dumps(Local)
