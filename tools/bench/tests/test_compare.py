import doctest
import pickle
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bench import compare
from bench.cli import app
from bench.commands import own_task
from bench.commands.new_task import KINDS
from bench.commands.own_task import profile_of, seconds_of_runs, study_of
from bench.execute.events import Advanced, Done
from bench.execute.local import LocalExecutor
from bench.execute.work import work
from bench.methods.driver import Driver
from bench.methods.table import METHODS
from bench.protocol.profiles import profile_for
from bench.records.models import Run, Selection
from bench.records.store import read
from bench.workloads.base import GradientTask
from bench.workloads.data.splits import LeakError
from bench.workloads.own_task import load_task
from bench.workloads.task_file import TaskError
from typer.testing import CliRunner

EXAMPLE = Path(__file__).parents[1] / "examples" / "my_task.py"
BUDGET = {"steps": 4, "batch": 8, "evals": 2}
MINIMAL = (EXAMPLE.parent / "minimal_task.py").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def path_as_it_was(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))


def written(folder, text=MINIMAL, name="my_task.py", **neighbours):
    folder.mkdir(parents=True, exist_ok=True)
    for neighbour, content in neighbours.items():
        (folder / f"{neighbour}.py").write_text(content)
    (folder / name).write_text(text)
    return str(folder / name)


def digest(path):
    return load_task(str(path), BUDGET)[1]


def built(workload):
    return workload.build("gradient", workload.budgets["compare"]["gradient"], 0, "cpu")


def test_the_examples_of_the_docstrings_run():
    outcome = doctest.testmod(compare)
    assert outcome.attempted >= 11
    assert outcome.failed == 0


def test_the_example_trains():
    workload, _ = load_task(str(EXAMPLE), BUDGET)
    task = built(workload)
    assert task.loss(0).item() > 0
    assert 0 <= task.validate() <= 1
    assert (workload.metric, workload.better) == ("accuracy", "higher")


def test_training_data_in_the_test_part_is_refused(tmp_path):
    leaky = written(tmp_path, EXAMPLE.read_text().replace("test=data(2000, seed=3)", "test=data(2000, seed=1)"))
    with pytest.raises(LeakError, match="test rows"):
        load_task(leaky, BUDGET)


def test_parts_of_different_shapes_are_compared_too(tmp_path):
    path = written(tmp_path, MINIMAL.replace("test=part(16, 3)", "test=(torch.zeros(5, 3, 2), torch.zeros(5, 1, 2))"))
    assert len(digest(path)) == 16


def test_an_edited_task_is_another_task(tmp_path):
    copy = written(tmp_path, EXAMPLE.read_text())
    before = digest(copy)
    written(tmp_path, EXAMPLE.read_text() + "\n")
    assert digest(copy) != before == digest(EXAMPLE)


@pytest.mark.parametrize("how", ["module", "package", "lazily"])
def test_a_neighbour_is_imported_and_belongs_to_the_task(how, tmp_path):
    text = MINIMAL.replace("import torch", "import torch\nfrom parts import part as made", 1)
    if how == "lazily":
        text = MINIMAL.replace("    return UserTask(", "    from parts import part as made\n    return UserTask(")
    text = text.replace("train=part(64, 1)", "train=made(64, 1)")
    neighbour = "import torch\n" + MINIMAL[MINIMAL.index("def part") : MINIMAL.index("def task")]
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        if how == "package":
            (folder / "parts").mkdir()
            (folder / "parts" / "__init__.py").write_text("from .inner import part\n")
            (folder / "parts" / "inner.py").write_text(neighbour)
        else:
            (folder / "parts.py").write_text(neighbour)
        written(folder, text)
    (tmp_path / "one" / "unrelated.py").write_text("x = 1\n")
    one, two = digest(tmp_path / "one" / "my_task.py"), digest(tmp_path / "two" / "my_task.py")
    assert one == two
    path = next((tmp_path / "two").rglob("inner.py" if how == "package" else "parts.py"))
    path.write_text(neighbour + "# edited\n")
    assert digest(tmp_path / "two" / "my_task.py") != two
    assert digest(tmp_path / "one" / "my_task.py") == one


SHIFT = """from pathlib import Path
SHIFT = float(Path(__file__).with_name("shift.txt").read_text())"""


def test_other_data_is_another_task(tmp_path):
    (tmp_path / "shift.txt").write_text("0")
    text = MINIMAL.replace("x = torch.randn(", "x = SHIFT + torch.randn(")
    text = text.replace("def part", SHIFT + "\n\ndef part")
    one = written(tmp_path, text)
    two = written(tmp_path / "two", text)
    (tmp_path / "two" / "shift.txt").write_text("1")
    assert digest(one)[:8] == digest(two)[:8]
    assert digest(one) != digest(two)


CLASSES = """
from __future__ import annotations
import pickle
from dataclasses import dataclass, field
""" + MINIMAL.replace(
    "def task(seed: int) -> UserTask:",
    """
@dataclass
class Settings:
    width: int = 3
    names: list[str] = field(default_factory=list)

class Net(nn.Module):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings, self.inner = settings, nn.Linear(settings.width, 1)

    def forward(self, x):
        return self.inner(x)

def task(seed):
    assert pickle.loads(pickle.dumps(Settings(5))) == Settings(5)""",
).replace("nn.Linear(3, 1)", "Net(Settings())", 1)


@pytest.mark.parametrize(
    "name", ["my_task.py", "my-task.py", "2nd.py", "random.py", "torch.py", "class.py", "my.task.py"]
)
def test_classes_of_a_task_are_dataclasses_and_pickled(name, tmp_path):
    workload, _ = load_task(written(tmp_path, CLASSES, name), BUDGET)
    model = built(workload).model
    assert pickle.loads(pickle.dumps(model)).settings == model.settings


@pytest.mark.parametrize("name", ["my_task.py", "my-task.py"])
def test_a_class_of_a_task_is_unpickled_in_a_spawned_process(name, tmp_path):
    path = written(
        tmp_path,
        name=name,
        text=CLASSES.replace(
            "def task(seed):",
            """
class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, row):
        return torch.full((3,), float(row))

def task(seed):
    loader = torch.utils.data.DataLoader(Rows(), num_workers=1, multiprocessing_context="spawn")
    assert len(list(loader)) == 4""",
        ),
    )
    code = f"from bench.workloads.own_task import load_task; load_task({path!r}, {BUDGET})"
    code = f"if __name__ == '__main__':\n    {code}"
    script = tmp_path / "start" / "start.py"
    script.parent.mkdir()
    script.write_text(code)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


TASK = MINIMAL[: MINIMAL.index("def task")]


def swap(old, new):
    assert old in MINIMAL
    return MINIMAL.replace(old, new)


BAD = {
    "no function": ("x = 1\n", "must define a function task(seed) that returns a UserTask, found none"),
    "no function of that name": ("task = 3\n", "must define a function task(seed)"),
    "no argument": (swap("task(seed: int)", "task()"), "task of my_task.py must take one argument, the seed"),
    "no return": (swap("return UserTask", "UserTask"), "must return a UserTask (or an OnlineTask), got None"),
    "another return": (TASK + "def task(seed):\n    return 1, 2\n", "got a tuple: end it with `return UserTask(...)`"),
    "syntax": (swap("UserTask:", "UserTask"), "my_task.py, line 14: expected ':': def task(seed: int) -> UserTask"),
    "indent": (MINIMAL + "  x = 1\n", "my_task.py, line 19: unindent does not match"),
    "null byte": (MINIMAL + "\0", "my_task.py"),
    "missing module": ("import no_such_module\n", "line 1: ModuleNotFoundError: No module named 'no_such_module'"),
    "error above": ("x = 1\n1 / 0\n" + MINIMAL, "my_task.py, line 2: ZeroDivisionError: division by zero"),
    "exit": ("raise SystemExit('enough')\n", "my_task.py, line 1: SystemExit: enough"),
    "error inside": (
        TASK + "def task(seed):\n    return y\n",
        "my_task.py, line 15: NameError: name 'y' is not defined",
    ),
    "no model": (swap("nn.Linear(3, 1)", "None"), "model of my_task.py must be a torch.nn.Module, got None"),
    "frozen model": (swap("nn.Linear(3, 1)", "nn.ReLU()"), "must have parameters that require gradients"),
    "no pair": (swap("train=part(64, 1)", "train=part(64, 1)[0]"), "train of my_task.py must be a pair"),
    "arrays": (swap("part(64, 1)", "[a.numpy() for a in part(64, 1)]"), "must be a pair of tensors"),
    "uneven": (swap("part(16, 2)", "(part(16, 2)[0], part(15, 2)[1])"), "got 16 inputs and 15 targets"),
    "empty": (swap("part(16, 2)", "part(0, 2)"), "got 0 inputs"),
    "better": (swap("mse_loss\n", "mse_loss, better='more'\n"), "better of my_task.py must be 'higher' or 'lo"),
    "margin": (swap("mse_loss\n", "mse_loss, margin=-1\n"), "margin of my_task.py must be in [0, inf)"),
    "loss": (swap("loss=nn.functional.mse_loss", "loss='mse'"), "loss of my_task.py must be a function"),
    "loss of rows": (swap("nn.functional.mse_loss", "torch.sub"), "must return a scalar tensor that depends"),
    "loss as number": (
        swap("nn.functional.mse_loss", "lambda a, b: (a - b).abs().sum().item()"),
        "loss of my_task.py must return a scalar tensor that depends on the model, got a float",
    ),
    "detached": (swap("nn.functional.mse_loss", "lambda a, b: a.detach().sum()"), "without a gradient"),
    "metric": (
        swap("mse_loss\n", "mse_loss, metric=lambda a, b: a\n"),
        "the metric of my_task.py must be a number, got a Tensor",
    ),
    "shapes": (swap("nn.Linear(3, 1)", "nn.Linear(4, 1)"), "my_task.py: RuntimeError: "),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_fault_of_a_task_is_one_line_with_its_place(fault, tmp_path, monkeypatch):
    text, message = BAD[fault]
    written(tmp_path, text)
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(app, ["compare", "my_task.py", "--steps", "8"])
    assert answer.exit_code == 2
    assert re.fullmatch(r"bench: .*\n", answer.output), answer.output
    assert message in answer.output
    assert not (tmp_path / "outputs").exists()


def test_a_fault_of_a_neighbour_is_told_with_its_place(tmp_path):
    text = "import helpful\n" + MINIMAL
    with pytest.raises(TaskError, match=r"^helpful\.py, line 2: invalid syntax: x = = 2$"):
        load_task(written(tmp_path / "a", text, helpful="\nx = = 2\n"), BUDGET)
    with pytest.raises(TaskError, match=r"^helpful\.py, line 3: KeyError: 'k'$"):
        load_task(written(tmp_path / "b", text, helpful="\n\n{}['k']\n"), BUDGET)


def test_a_neighbour_with_a_taken_name_is_refused(tmp_path):
    with pytest.raises(TaskError, match=r"rename typer\.py"):
        load_task(written(tmp_path, "import typer\n" + MINIMAL, typer="x = 1\n"), BUDGET)


def test_a_process_starts_beside_a_task_named_as_a_module_of_python(tmp_path):
    _, job = jobs_of(written(tmp_path, name="csv.py"))
    executor, ended = LocalExecutor(1), []
    try:
        executor.submit(job)
        while not ended:
            ended = [event for event in executor.wait(1.0) if not isinstance(event, Advanced)]
        assert isinstance(ended[0], Done), ended
    finally:
        executor.close()


def jobs_of(path, seeds=2):
    study = study_of(Path(path), {"steps": 8, "batch": 8, "evals": 2}, ("adamw",), profile_of(seeds, 1), 1)
    return study, study.job("adamw", study.space("adamw").recommended(), 0, "final")


FAILING = """
calls = []

def failing(a, b):
    calls.append(1)
    if len(calls) > 20:
        raise OSError('gone')
    return (a - b).square().mean()
"""


def test_an_error_in_the_middle_of_a_run_is_one_line(tmp_path):
    text = MINIMAL.replace("loss=nn.functional.mse_loss", "loss=lambda a, b: failing(a, b)") + FAILING
    _, job = jobs_of(written(tmp_path, text))
    work(job)
    with pytest.raises(TaskError, match=r"^my_task\.py, line 25: OSError: gone$"):
        work(job)


def test_a_task_that_is_edited_while_it_runs_is_refused(tmp_path):
    path = written(tmp_path)
    _, job = jobs_of(path)
    work(job)
    written(tmp_path, MINIMAL + "\n")
    with pytest.raises(TaskError, match="was edited; start again"):
        work(job)


def test_data_that_differs_from_process_to_process_is_refused(tmp_path):
    path = written(tmp_path, "import os\n" + MINIMAL.replace("x = torch.randn(", "x = os.getpid() + torch.randn("))
    _, job = jobs_of(path)
    other = replace(job, config=job.config.model_copy(update={"task": job.config.task[:8] + "00000000"}))
    with pytest.raises(TaskError, match="must give the same data in every process"):
        work(other)


def test_an_online_task_is_trained_and_steered_by_its_reward(tmp_path):
    text = """
import torch
from bench.compare import OnlineTask

def task(seed):
    model = torch.nn.Linear(1, 1)
    seen = []

    def loss(step):
        seen.append(step)
        return (model(torch.ones(4, 1)) - 2).square().mean()

    def value():
        assert not model.training
        return -abs(model(torch.ones(1, 1)).item() - 2)

    return OnlineTask(model, loss, validate=value, test=value, reward=lambda: value_of(seen), metric_name="closeness")

def value_of(seen):
    return float(len(seen))
"""
    path = written(tmp_path, text)
    workload, _ = load_task(path, {"steps": 8, "batch": 1, "evals": 2})
    assert (workload.rewards, workload.better) == (True, "higher")
    study, job = jobs_of(path)
    run = work(job)
    assert run.test == run.value < 0
    assert "reward" in str(study.space("adaptive-adamw").recommended()["rule"])


def test_the_users_seeds_keep_the_protocol():
    profile = profile_for(seeds=3, trials=2)
    assert len(profile.tuning_seeds) == 2
    assert not set(profile.tuning_seeds) & set(profile.final_seeds)
    assert set(profile_of(3, 2).rate_seeds) <= set(profile.final_seeds)


class Slow(Driver):
    """Takes three seconds a step."""

    def __init__(self, take):
        super().__init__(torch.optim.SGD(torch.nn.Linear(1, 1).parameters()))
        self.take = take

    def step(self, loss):
        self.take()


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

    tiny = replace(load_task(str(EXAMPLE), {"steps": 100, "batch": 8, "evals": 4})[0], build=build)
    fixed = 3 + (4 + 1) * 2
    assert seconds_of_runs(tiny, ["adamw", "lion"]) == pytest.approx(dict.fromkeys(("adamw", "lion"), fixed + 50))
    slow = replace(METHODS["lion"], make=lambda *_: Slow(passing(3.0, None)))
    monkeypatch.setitem(METHODS, "lion", slow)
    monkeypatch.setattr(own_task, "SHORT_STEP", 1.0)
    assert seconds_of_runs(tiny, ["adamw", "lion"])["lion"] == pytest.approx(fixed + 100 * 3.5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_is_written_once_and_its_task_trains(kind, tmp_path, monkeypatch):
    if kind == "text":
        pytest.importorskip("transformers", reason="needs bench[minilm]")
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(app, ["compare", "--new", kind, "mine.py"])
    assert answer.exit_code == 0
    assert "next: bench compare mine.py" in answer.output
    assert "your own" in Path("mine.py").read_text().lower()
    task = built(load_task("mine.py", BUDGET)[0])
    first = task.loss(0)
    first.backward()
    assert first.item() > 0 or kind == "rl"
    assert task.validate() == task.validate()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = CliRunner().invoke(app, ["compare", "--new", kind, "mine.py"])
    assert again.exit_code == 2
    assert "is not written over" in again.output
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path in before} == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_keeps_the_repositorys_style(kind, tmp_path):
    source = Path(compare.__file__).with_name("templates") / f"{kind}.py.txt"
    command = [sys.executable, "-m", "ruff", "check", "--config", str(Path(__file__).parents[3] / "pyproject.toml")]
    done = subprocess.run([*command, "-"], input=source.read_text(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_comparison_answers_whether_to_switch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path)
    words = ["compare", "my_task.py", "--steps", "8", "--methods", "sgd", "--seeds", "2", "--trials", "1"]
    answer = CliRunner().invoke(app, [*words, "--workers", "1", "--plain"])
    assert answer.exit_code == 0, answer.output
    folder = tmp_path / "outputs" / "bench" / "compare-my_task"
    page = (folder / "report.html").read_text()
    assert page.index("Should you switch from AdamW?") < page.index("Overview")
    assert page.index("Fewer than 5 seeds decide nothing") < page.index("<figure>") < page.index("Overview")
    assert re.search(r"Set (AdamW|SGD \+ Nesterov) to lr ", page)
    assert "Should you switch from AdamW?" in answer.output
    found = read(folder / "records.jsonl")
    assert {run.role for run in found if isinstance(run, Run)} == {"tune", "final", "rate"}
    assert all(len(choice.rates) == 4 for choice in found if isinstance(choice, Selection))
