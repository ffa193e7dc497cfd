"""The picture of a run."""

import pytest
import torch
from adaptive_optimizer import AdaptiveOptimizer, plot
from torch.optim import SGD


def logs(tmp_path, lr=1.0):
    base = SGD([torch.nn.Parameter(torch.zeros(2))], lr=lr)
    opt = AdaptiveOptimizer(base, lr_rule="trend", reward_rule="scaling")
    for step in range(20):
        opt.step_loss(1 / (1 + step))
        opt.step_reward(step)
        opt.step()
    opt.save_logs(tmp_path / "logs.jsonl")
    return str(tmp_path / "logs.jsonl")


@pytest.mark.parametrize("lr", [1.0, torch.tensor(1.0)], ids=["number", "tensor"])
@pytest.mark.parametrize(("name", "starts"), [("out.png", b"\x89PNG"), ("out.svg", b"<?xml")])
def test_the_command_draws_saved_logs(tmp_path, name, starts, lr):
    pytest.importorskip("matplotlib", reason="needs the plot extra")
    assert plot.main([logs(tmp_path, lr), str(tmp_path / name)]) == 0
    picture = (tmp_path / name).read_bytes()
    assert picture.startswith(starts)
    assert len(picture) > 5000


def test_the_command_says_how_it_is_used(capsys):
    assert plot.main(["one"]) == 2
    assert "logs.jsonl out.png" in capsys.readouterr().err


def test_no_records_are_refused(tmp_path):
    with pytest.raises(ValueError, match="records must not be empty"):
        plot.draw([], tmp_path / "out.png")
