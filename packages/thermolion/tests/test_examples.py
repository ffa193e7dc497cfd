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


def test_the_classifier_learns(capsys):
    accuracy = runpy.run_path(str(PACKAGE / "examples" / "classifier.py"))["main"](epochs=3)
    assert accuracy > 0.9
