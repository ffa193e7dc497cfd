"""The README's examples run as printed."""

import contextlib
import io
import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
PRINTED = re.findall(r"^```python\n(.*?)^```\n+```text\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")


def run(source):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, "README.md", "exec"), {"__name__": "readme"})
    return printed.getvalue()


@pytest.mark.parametrize("source", BLOCKS, ids=[f"block {n}" for n in range(len(BLOCKS))])
def test_every_example_runs(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(source)


def test_the_original_loop_prints_loss_rate_and_decay():
    line = re.compile(r"\[(\d+)\] Loss=(\d+\.\d{4}) \| LR=(\d\.\d{6}e-\d\d) \| WD=(0\.\d{5})")
    printed = [line.fullmatch(each) for each in run(BLOCKS[0]).splitlines()]
    assert [match[1] for match in printed] == ["100", "200", "300"]
    losses, rates, decays = (([float(match[i]) for match in printed]) for i in (2, 3, 4))
    assert losses[0] > losses[-1]
    assert all(1e-4 <= rate <= 1e-2 and rate != 1e-3 for rate in rates)
    assert all(0.001 <= decay <= 0.1 for decay in decays)


def test_the_examples_print_what_the_readme_says():
    assert PRINTED
    for source, printed in PRINTED:
        result = run(source)
        assert NUMBER.sub("", result) == NUMBER.sub("", printed)
        stated, measured = ([float(number) for number in NUMBER.findall(text)] for text in (printed, result))
        assert measured == pytest.approx(stated, rel=0.02)  # machines sum in different orders


def test_links_are_absolute():
    assert all(link.startswith("https://") for link in re.findall(r"\]\(([^)]+)\)", README))
