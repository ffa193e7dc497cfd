"""The README's examples run, and print what it says."""

import contextlib
import io
import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```(?:\n+```text\n(.*?)```)?", README, re.S)


def run(source):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, "README.md", "exec"), {"__name__": "readme"})
    return printed.getvalue()


@pytest.mark.parametrize(("source", "printed"), BLOCKS, ids=[f"block {n}" for n in range(len(BLOCKS))])
def test_every_example_runs_and_prints_what_the_readme_says(source, printed):
    result = run(source)
    if printed:
        assert result == printed


def test_the_quadratic_is_among_them():
    assert any("x**2" in source and "lr=0.2, lookahead_steps=4" in source and printed for source, printed in BLOCKS)


def test_links_are_absolute():
    assert all(link.startswith("https://") for link in re.findall(r"\]\(([^)]+)\)", README))
