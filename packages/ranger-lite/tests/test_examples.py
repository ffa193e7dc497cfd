"""The examples, in files and in docstrings, run and print what they say."""

import doctest
import importlib.util
from pathlib import Path

import pytest
import rangerlite.rangerlite

EXAMPLES = Path(__file__).parents[1] / "examples"


def printed(name, capsys):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main()
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "example",
    [found for found in doctest.DocTestFinder().find(rangerlite.rangerlite) if found.examples],
    ids=lambda example: example.name,
)
def test_the_docstrings_example_prints_what_it_says(example):
    printed = []
    assert doctest.DocTestRunner(verbose=False).run(example, out=printed.append).failed == 0, "".join(printed)


def test_every_public_entry_point_has_an_example():
    names = {found.name for found in doctest.DocTestFinder().find(rangerlite.rangerlite) if found.examples}
    assert {f"rangerlite.rangerlite.RangerLite{end}" for end in ("", ".slow_weights")} <= names


def test_the_quadratic_prints_twenty_steps(capsys):
    lines = printed("quadratic", capsys).splitlines()
    assert len(lines) == 20
    assert lines[3] == "Step  4: x = 0.8524, loss = 0.0052, grad = 0.1441"
    assert lines[19] == "Step 20: x = 0.5986, loss = 0.3432, grad = 1.1717"


def test_resuming_ends_at_the_same_weights(capsys):
    assert printed("resume", capsys) == "equal to the bit: True\n"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_lightning_with_two_groups_learns(capsys, monkeypatch, tmp_path):
    pytest.importorskip("lightning", reason="needs lightning")
    monkeypatch.chdir(tmp_path)
    line = printed("lightning_two_groups", capsys).splitlines()[-1]
    before, after = (float(word) for word in line.replace("error before ", "").split(", after "))
    assert after < 0.5 * before
