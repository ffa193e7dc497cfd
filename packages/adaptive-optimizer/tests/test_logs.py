"""Logs: bounded, JSON lines, drawn, and to TensorBoard as they happen."""

import copy
import json
import math

import pytest
import torch
from adaptive_optimizer import AdaptiveOptimizer
from torch.optim import SGD


def optimizer(**settings):
    base = SGD([torch.nn.Parameter(torch.zeros(2))], lr=1.0, momentum=0.9)
    return AdaptiveOptimizer(base, lr_rule="trend+variance", momentum_rule="relative", reward_rule="trend", **settings)


def run(opt, steps):
    for step in range(steps):
        opt.step_loss(1.0 / (1 + step))
        if step % 2:
            opt.step_reward(float(step))
        opt.step()


def test_each_step_has_its_record():
    opt = optimizer()
    run(opt, 3)
    logs = opt.get_logs()
    assert [record["step"] for record in logs] == [1, 2, 3]
    assert [record["loss"] for record in logs] == [1.0, 0.5, 1 / 3]
    assert [record["reward"] for record in logs] == [None, 1.0, None]
    assert logs[-1]["lr"] == opt.lr
    assert logs[-1]["lr_factor"] == opt.factors["lr"]
    assert logs[-1]["lr.trend"] == opt.factors["M"]
    assert logs[-1]["momentum"] == opt.factors["H"]
    logs[0]["loss"] = 7
    assert opt.get_logs()[0]["loss"] == 1.0


@pytest.mark.parametrize(("limit", "kept"), [(0, []), (2, [4, 5])])
def test_the_newest_are_kept(limit, kept):
    opt = optimizer(log_limit=limit)
    run(opt, 5)
    assert [record["step"] for record in opt.get_logs()] == kept


def test_they_are_saved_as_json_lines_that_any_parser_reads(tmp_path):
    opt = optimizer()
    run(opt, 3)
    opt.step_loss(math.nan)
    opt.step()
    opt.save_logs(tmp_path / "logs.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "logs.jsonl").read_text().splitlines()]
    assert lines[:3] == opt.get_logs()[:3]
    assert lines[3]["loss"] is None


def test_a_tensor_learning_rate_is_not_waited_for():
    base = SGD([torch.nn.Parameter(torch.zeros(2))], lr=torch.tensor(1.0))
    opt = AdaptiveOptimizer(base, lr_rule="trend")
    run(opt, 1)
    assert opt.get_logs()[0]["lr"] is None
    assert opt.get_logs()[0]["lr_factor"] == 0.999


def test_a_writer_gets_every_number_and_stays_behind_in_copies():
    class Writer:
        def __init__(self):
            self.scalars = []

        def add_scalar(self, tag, value, step):
            self.scalars.append((tag, value, step))

        def __deepcopy__(self, memo):
            raise AssertionError("an open file")

    writer = Writer()
    opt = optimizer(writer=writer, log_limit=0)
    run(opt, 2)
    assert ("adaptive_optimizer/loss", 0.5, 2) in writer.scalars
    assert ("adaptive_optimizer/lr", opt.lr, 2) in writer.scalars
    assert not any(value is None for _, value, _ in writer.scalars)
    seen = len(writer.scalars)
    run(copy.deepcopy(opt), 2)
    assert len(writer.scalars) == seen


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_tensorboard_reads_what_its_writer_wrote(tmp_path):
    tensorboard = pytest.importorskip("torch.utils.tensorboard", reason="needs tensorboard")
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard")
    with tensorboard.SummaryWriter(tmp_path) as writer:
        opt = optimizer(writer=writer)
        run(opt, 4)
    read = events.EventAccumulator(str(tmp_path))
    read.Reload()
    assert [event.step for event in read.Scalars("adaptive_optimizer/lr_factor")] == [1, 2, 3, 4]
