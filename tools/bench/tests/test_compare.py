import doctest
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bench import compare
from bench.commands.own_task import seconds_of_run
from bench.protocol.profiles import profile_for
from bench.workloads.base import GradientTask
from bench.workloads.data.splits import LeakError
from bench.workloads.own_task import digest, load_task

EXAMPLE = Path(__file__).parents[1] / "examples" / "my_task.py"
BUDGET = {"steps": 4, "batch": 8, "evals": 2}


def test_the_example_of_the_docstring_runs():
    outcome = doctest.testmod(compare)
    assert outcome.attempted >= 6
    assert outcome.failed == 0


def test_the_example_trains():
    workload = load_task(str(EXAMPLE), BUDGET)
    task = workload.build("gradient", workload.budgets["compare"]["gradient"], 0, "cpu")
    assert task.loss(0).item() > 0
    assert 0 <= task.validate() <= 1
    assert (workload.metric, workload.better) == ("accuracy", "higher")


def test_training_data_in_the_test_part_is_refused(tmp_path):
    leaky = tmp_path / "leaky.py"
    leaky.write_text(EXAMPLE.read_text().replace("test=data(2000, seed=3)", "test=data(2000, seed=1)"))
    with pytest.raises(LeakError, match="test rows"):
        load_task(str(leaky), BUDGET)


def test_a_file_without_a_task_is_refused(tmp_path):
    empty = tmp_path / "empty.py"
    empty.write_text("x = 1\n")
    with pytest.raises(ValueError, match="must define a function task"):
        load_task(str(empty), BUDGET)


def test_an_edited_task_is_another_task(tmp_path):
    copy = tmp_path / "my_task.py"
    copy.write_text(EXAMPLE.read_text())
    before = digest(copy)
    copy.write_text(EXAMPLE.read_text() + "\n")
    assert digest(copy) != before == digest(EXAMPLE)


def test_the_users_seeds_keep_the_protocol():
    profile = profile_for(seeds=3, trials=2)
    assert len(profile.tuning_seeds) == 2
    assert not set(profile.tuning_seeds) & set(profile.final_seeds)


def test_a_run_is_estimated_from_its_parts(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "process_time", lambda: clock[0])
    weight = torch.nn.Linear(1, 1)

    def passing(seconds, value):
        def take(*_):
            clock[0] += seconds
            return value() if callable(value) else value

        return take

    def build(*_):
        clock[0] += 3.0
        loss = passing(0.5, lambda: weight(torch.ones(1)).sum())
        return GradientTask(weight, loss, passing(2.0, 0.0), passing(2.0, 0.0), 8)

    tiny = replace(load_task(str(EXAMPLE), {"steps": 100, "batch": 8, "evals": 4}), build=build)
    assert seconds_of_run(tiny) == pytest.approx(3 + 100 * 0.5 + (4 + 1) * 2)
