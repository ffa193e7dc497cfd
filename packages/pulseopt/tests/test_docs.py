"""The README's programs run, the equations carry the code's numbers, the page shows the recorded regret."""

import importlib.util
import json
import re
from pathlib import Path

import pulseopt
import pytest

PACKAGE = Path(__file__).parents[1]
SOURCE = Path(pulseopt.__file__).parent  # where it is installed: an sdist tests its wheel
README = (PACKAGE / "README.md").read_text(encoding="utf-8")
DOCS = PACKAGE.parents[1] / "docs"
in_the_workspace = pytest.mark.skipif(
    not (DOCS / "packages" / "pulseopt.md").exists(), reason="needs the workspace's docs"
)


def test_the_readmes_programs_run(capsys):
    program = "\n".join(re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL))
    exec(program, {})
    assert capsys.readouterr().out.startswith("Episodes run: 20\nLast selected LR multiplier: ")


def test_the_example_prints_what_the_readme_says(capsys):
    source, printed = re.search(r"^```python\n(.*?)^```\n+```text\n(.*?)^```$", README, re.M | re.S).groups()
    exec(source, {})
    assert capsys.readouterr().out == printed


def numbered(text):
    """Number → equation without its spaces, from lines like ``E ← … (4)``."""
    pairs = re.findall(r"(\S[^\n]*?)\s*\((\d+)\)(?=\s|$)", text)
    return {number: equation for equation, number in pairs}


def sources():
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(SOURCE.rglob("*.py"))}


def test_every_equation_is_computed_in_the_file_that_states_it():
    stated = set()
    for name, text in sources().items():
        docstring = text.split('"""')[1]
        here = set(re.findall(r"\((\d+)\)(?=  |\s*$)", docstring, re.MULTILINE))
        computed = set(re.findall(r"\((\d+)\)", " ".join(re.findall(r"# ((?:\(\d+\)\s?)+)$", text, re.M))))
        assert here == computed, name
        assert not stated & here, "a number belongs to one equation"
        stated |= here
    assert stated == {str(n) for n in range(1, 28)}


@in_the_workspace
def test_the_page_numbers_the_same_equations():
    page = (DOCS / "packages" / "pulseopt.md").read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    assert set(numbered(blocks)) == {str(n) for n in range(1, 28)}


def regret_module(name="regret"):
    spec = importlib.util.spec_from_file_location(name, PACKAGE / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recorded():
    return [json.loads(line) for line in (DOCS / "records" / "pulseopt_regret.jsonl").read_text().splitlines()]


@in_the_workspace
def test_the_page_shows_the_recorded_regret():
    page = (DOCS / "packages" / "pulseopt.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- regret -->\n(.*)\n<!-- /regret -->", page, re.DOTALL).group(1)
    assert shown == regret_module().table(recorded())


@in_the_workspace
def test_the_recorded_regret_is_reproduced_to_the_bit():
    row = next(row for row in recorded() if row["controller"] == "exploration 0.1, baseline ema")
    assert regret_module().regret(row["world"], row["settings"], 0) == row["values"][0]


@in_the_workspace
def test_the_recommended_controller_keeps_the_bars():
    for row in recorded():
        if row["controller"] == "exploration 0.1, baseline ema":
            assert row["of_random"] < 0.5
            assert row["of_default"] <= 1.0


@in_the_workspace
@pytest.mark.parametrize(("record", "mark", "protocol"), [("", "", "FIRST"), ("_2", " 2", "SECOND")])
def test_the_readme_shows_the_recorded_search(record, mark, protocol):
    pytest.importorskip("scipy", reason="judges with it")
    script = regret_module("find_rate")
    asked = getattr(script, protocol)
    records = script.read(DOCS / "records" / f"pulseopt_find{record}.jsonl")
    shown = re.search(rf"<!-- find{mark} -->\n(.*)\n<!-- /find{mark} -->", README, re.DOTALL).group(1)
    assert shown == script.report(records, asked)
    judged = [len(script.values(records, workload, "AdamW", 1.0, asked)) for workload in asked.workloads]
    assert judged == [20] * len(asked.workloads)
