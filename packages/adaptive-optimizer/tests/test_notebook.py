import base64
import re
import subprocess
import sys

import pytest
import torch
from adaptive_optimizer import AdaptiveOptimizer, _logs


def trained(steps=5):
    model = torch.nn.Linear(2, 1)
    opt = AdaptiveOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))
    for _ in range(steps):
        loss = model(torch.ones(3, 2)).square().mean()
        loss.backward()
        opt.step_loss(loss)
        opt.step()
        opt.zero_grad()
    return opt


def test_a_notebook_shows_values_and_picture():
    pytest.importorskip("matplotlib")
    shown = trained()._repr_html_()
    assert "AdaptiveOptimizer around SGD" in shown
    assert re.search(r"<th>lr</th><td>0\.\d+</td>", shown)
    picture = base64.b64decode(re.search(r"base64,([^\"]+)", shown)[1])
    assert picture.startswith(b"\x89PNG")


def test_the_picture_grows_with_the_run():
    pytest.importorskip("matplotlib")
    opt = trained(3)
    assert opt._repr_html_() == opt._repr_html_()
    assert trained(3)._repr_html_() != trained(30)._repr_html_()


def test_without_matplotlib_or_steps_there_is_the_table(monkeypatch):
    assert "<img" not in trained(0)._repr_html_()
    monkeypatch.setattr(_logs, "find_spec", lambda name: None)
    shown = trained()._repr_html_()
    assert "<img" not in shown
    assert "<th>step</th>" in shown


def test_what_is_shown_is_escaped():
    assert "&lt;b&gt;" in _logs.as_html("<b>", {}, [])


def test_the_plot_module_is_left_to_be_run_as_a_program():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "adaptive_optimizer.plot"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "usage" in done.stderr
    assert "RuntimeWarning" not in done.stderr
