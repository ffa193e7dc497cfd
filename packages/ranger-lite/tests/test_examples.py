"""The examples run, and print what they promise."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def printed(name, capsys):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main()
    return capsys.readouterr().out


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
