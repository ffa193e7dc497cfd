"""The examples run, shortened, and write what they promise."""

import importlib.util
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
pytestmark = pytest.mark.slow


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_comparison_writes_its_picture(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib", reason="needs the plot extra")
    module = example("compare_adamw")
    monkeypatch.setattr(module, "STEPS", 40)
    monkeypatch.setattr(sys, "argv", ["compare_adamw.py", str(tmp_path / "out.png")])
    module.main()
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.count("AdaptiveOptimizer(AdamW): held-out loss") == 3


@pytest.mark.filterwarnings("ignore")
def test_cartpole_learns_and_its_return_steers_the_rate(monkeypatch):
    pytest.importorskip("gymnasium", reason="needs gymnasium")
    module = example("cartpole")
    monkeypatch.setattr(module, "UPDATES", 15)
    plain, adapted = (module.train(1e-2, 0, adapted=each) for each in (False, True))
    assert plain[:2] == adapted[:2]
    assert plain != adapted
    assert max(adapted[-3:]) > 2 * adapted[0]
