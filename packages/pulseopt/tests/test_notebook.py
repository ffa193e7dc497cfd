import base64
import re
import subprocess
import sys

import pytest
import torch
from pulseopt import AEES
from pulseopt._records import notebook


def trained(steps=12, **settings):
    weight = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
    aees = AEES(torch.optim.SGD([weight], lr=0.01), lr_candidates=[0.5, 2.0], episode_length=3, seed=0, **settings)
    for step in range(steps):
        aees.step_start(step)
        loss = weight.square().sum()
        weight.grad = None
        loss.backward()
        aees.step_end(loss)
    return aees


def test_a_notebook_shows_the_state_and_the_episodes():
    pytest.importorskip("matplotlib")
    shown = trained()._repr_html_()
    assert "AEES around SGD" in shown
    assert re.search(r"<th>episodes closed</th><td>[34]</td>", shown)
    assert base64.b64decode(re.search(r"base64,([^\"]+)", shown)[1]).startswith(b"\x89PNG")


def test_without_matplotlib_or_episodes_there_is_the_table(monkeypatch):
    assert "<img" not in trained(0)._repr_html_()
    monkeypatch.setattr(notebook, "find_spec", lambda name: None)
    shown = trained()._repr_html_()
    assert "<img" not in shown
    assert "<th>estimates</th>" in shown


def test_what_is_shown_is_escaped():
    assert "&lt;b&gt;" in notebook.as_html("<b>", {}, {})


def test_the_plot_module_is_left_to_be_run_as_a_program():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pulseopt.plot"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "usage" in done.stderr
    assert "RuntimeWarning" not in done.stderr
