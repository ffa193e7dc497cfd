"""The examples run."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.slow
def test_the_quick_start_runs(capsys):
    runpy.run_path(str(EXAMPLES / "quick_start.py"), run_name="__main__")
    assert "under AEES" in capsys.readouterr().out


@pytest.mark.slow
def test_the_label_noise_experiment_runs(capsys, monkeypatch):
    pytest.importorskip("mlxtend", reason="needs the experiments extra")
    monkeypatch.setattr(sys, "argv", ["label_noise.py", "--seeds", "1", "--steps", "20"])
    runpy.run_path(str(EXAMPLES / "label_noise.py"), run_name="__main__")
    assert len(capsys.readouterr().out.splitlines()) == 8


def test_the_regret_of_a_short_run_is_less_than_randoms():
    regret = runpy.run_path(str(EXAMPLES / "regret.py"))
    lost = [
        regret["regret"]("additive", settings, 0, 200)
        for settings in ({"control_mode": "random"}, {"exploration_coef": 0.1})
    ]
    assert lost[1] < lost[0] / 2
