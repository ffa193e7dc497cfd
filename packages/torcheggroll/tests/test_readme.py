"""The examples of the README run, in order, as they stand."""

import re
from pathlib import Path

import pytest
import torch

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.skipif(not README.exists(), reason="the README is not beside these tests")
def test_the_examples_run_and_learn():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    names = {}
    exec(compile(blocks[0], "README", "exec"), names)
    with torch.no_grad():
        after = names["fitness"](names["model"])
    assert after > -float(names["y_train"].square().mean())  # better than always answering zero
    for block in blocks[1:]:
        exec(compile(block, "README", "exec"), names)
    assert len(names["scores"]) == 32
    assert names["es"].epoch == 201


@pytest.mark.skipif(not README.exists(), reason="the README is not beside these tests")
def test_the_example_prints_what_the_readme_says(capsys):
    text = README.read_text(encoding="utf-8")
    source, printed = re.search(r"```python\n(.*?)```\n+```text\n(.*?)```", text, re.S).groups()
    exec(compile(source, "README", "exec"), {})
    result, number = capsys.readouterr().out, re.compile(r"-?\d+\.\d+")
    assert number.sub("", result) == number.sub("", printed)
    stated, measured = ([float(each) for each in number.findall(text)] for text in (printed, result))
    assert measured == pytest.approx(stated, abs=0.02)  # machines sum in different orders
