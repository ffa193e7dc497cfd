"""Saved logs become a picture."""

import pytest
import torch
from pulseopt import AEES, plot


def saved(path, steps=9):
    weight = torch.nn.Parameter(torch.ones(2))
    aees = AEES(
        torch.optim.SGD([weight], lr=0.1), lr_candidates=(0.5, 1.0), episode_length=2, seed=0, context_mode="trend"
    )
    for step in range(steps):
        aees.step_start(step)
        weight.grad = torch.ones(2)
        aees.step_end(1.0 / (step + 1))
    aees.finalize()
    aees.save_logs(path)
    return aees


def test_lines_are_the_logs(tmp_path):
    logs = saved(tmp_path / "logs.jsonl").get_logs()
    episodes = plot.read_logs(tmp_path / "logs.jsonl")
    assert {name: [episode[name] for episode in episodes] for name in logs} == logs


def test_a_picture_is_written(tmp_path):
    pytest.importorskip("matplotlib", reason="needs the plot extra")
    saved(tmp_path / "logs.jsonl")
    plot.main([str(tmp_path / "logs.jsonl"), str(tmp_path / "out.png")])
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_files_that_are_no_logs_are_refused(tmp_path):
    (tmp_path / "empty").write_text("")
    with pytest.raises(ValueError, match="at least one episode"):
        plot.read_logs(tmp_path / "empty")
    (tmp_path / "other").write_text('{"loss": 1}\n')
    with pytest.raises(ValueError, match="line 1"):
        plot.read_logs(tmp_path / "other")
