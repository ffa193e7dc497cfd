"""What the pages say is true: their Python runs, and their equations carry the code's numbers."""

import ast
import json
import re
import runpy
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts and "tests" not in path.parts
)
PACKAGES = sorted(path.name for path in (ROOT / "packages").iterdir() if path.is_dir())
EQUATION = re.compile(r"\((\d+[a-z]?)\)(?:\s|$)")
FORMULA = re.compile(r"(\S.*?)\s{2,}\((\d+[a-z]?)\)(?=\s|$)")  # prose has one space before a number
TRAINERS = {"lightning", "transformers", "accelerate"}
INCLUDE = re.compile(r"^```\{include\} (\S+)\n:start-after: \"(.*)\"\n:end-before: \"(.*)\"\n```$", re.MULTILINE)
PRINTED = re.compile(r"^```python\n(?:(?!^```).)*^```\n+```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d+\.\d+")
COMPUTES = re.compile(r"#\s*((?:\(\d+[a-z]?\)[,\s]*)+)")


def python_of(page: Path) -> str:
    """All Python blocks of a page, as one program: later blocks use what earlier ones made."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL))


def with_includes(page: Path) -> str:
    """A page's text as it is shown: parts of READMEs stand where they are asked for."""

    def part(match):
        text = (page.parent / match[1]).read_text()
        return text.split(match[2], 1)[1].split(match[3], 1)[0]

    return INCLUDE.sub(part, page.read_text())


def sources(package: str) -> str:
    return "\n".join(path.read_text() for path in sorted((ROOT / "packages" / package / "src").rglob("*.py")))


def docstrings(package: str) -> list[str]:
    """The module docstrings of a package."""
    paths = sorted((ROOT / "packages" / package / "src").rglob("*.py"))
    return [ast.get_docstring(ast.parse(path.read_text())) or "" for path in paths]


def numbered(text: str) -> set[tuple[str, str]]:
    """Each equation of a text as its number and its formula, spaces folded."""
    found = (match for line in text.splitlines() for match in FORMULA.finditer(line))
    return {(match[2], " ".join(match[1].split())) for match in found}


@pytest.mark.parametrize("page", [page for page in PAGES if python_of(page)], ids=lambda page: page.stem)
def test_every_python_block_runs_and_prints_what_the_page_says(page, tmp_path, monkeypatch, capsys):
    program = tmp_path / f"{page.stem}_page.py"
    program.write_text(python_of(page))
    monkeypatch.chdir(tmp_path)
    try:
        with warnings.catch_warnings():
            if page.stem in TRAINERS:
                warnings.simplefilter("ignore")  # what trainers warn of is not ours
            runpy.run_path(str(program))
    except ModuleNotFoundError as missing:
        if missing.name not in TRAINERS:
            raise
        pytest.skip(f"needs the trainers group: {missing}")
    shown = capsys.readouterr().out.splitlines()
    for line in "".join(PRINTED.findall(page.read_text())).splitlines():
        same = [other for other in shown if NUMBER.sub("", other) == NUMBER.sub("", line)]
        assert same, f"nothing prints {line!r}"
        stated, measured = ([float(number) for number in NUMBER.findall(text)] for text in (line, same[-1]))
        assert measured == pytest.approx(stated, rel=0.02)  # machines sum in different orders


@pytest.mark.parametrize("package", PACKAGES)
def test_equations_of_the_page_are_those_of_the_code(package):
    page = with_includes(ROOT / "docs" / "packages" / f"{package}.md")
    blocks = "\n".join(re.findall(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    on_the_page = set(EQUATION.findall(blocks))
    in_code = {number for group in COMPUTES.findall(sources(package)) for number in re.findall(r"\d+[a-z]?", group)}
    assert on_the_page, "the page shows no numbered equation in a ```text block"
    assert on_the_page == in_code
    stated = {equation for text in docstrings(package) for equation in numbered(text)}
    strangers = [
        f"({number}) {formula}"
        for number, formula in sorted(numbered(blocks))
        if not any(number == other and (formula in text or text in formula) for other, text in stated)
    ]
    assert not strangers, "the page states equations that no module docstring states under the same number"


def test_an_equation_with_another_sign_is_a_stranger():
    stated = numbered("    φ ← φ + α (θ - φ)   (1)  the slow weights follow\n    θ ← φ               (2)")
    assert stated == {("1", "φ ← φ + α (θ - φ)"), ("2", "θ ← φ")}
    assert numbered("φ ← φ - α (θ - φ)  (1)") - stated
    assert not numbered("φ ←  φ + α (θ - φ)  (1)  otherwise spaced") - stated


def test_the_first_minutes_are_those_of_the_record():
    records = (ROOT / "docs" / "records" / "first_minutes.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in records]
    stages = ["environment", "install", "example", "plot"]
    table = ["| package | " + " | ".join(stages) + " | together |", "|---|" + "---|" * 5]
    for row in rows:
        seconds = [row[stage] for stage in stages]
        table.append(f"| {row['package']} | " + " | ".join(f"{s:.0f} s" for s in [*seconds, sum(seconds)]) + " |")
    page = (ROOT / "docs" / "guides" / "first-minutes.md").read_text()
    assert [row["package"] for row in rows] == PACKAGES
    assert page.split("<!-- minutes -->")[1].split("<!-- /minutes -->")[0].strip().splitlines() == table


def test_the_judgement_of_the_guard_is_that_of_the_records():
    study = runpy.run_path(str(ROOT / "packages" / "adaptive-optimizer" / "examples" / "robust_rate.py"))
    rows = study["judge"](study["records"](ROOT / "docs" / "records" / "adaptive_robust_rate.jsonl"))
    assert {row["n"] for row in rows} == {20}
    assert study["table"](rows) in (ROOT / "docs" / "packages" / "adaptive-optimizer.md").read_text()


TEXTS = sorted({*PAGES, *ROOT.glob("*.md"), *ROOT.glob("packages/*/*.md"), *ROOT.glob("tools/*/*.md")})


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_fence_closes(text):
    assert len(re.findall(r"^```", text.read_text(), re.MULTILINE)) % 2 == 0


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(text):
    prose = re.sub(r"^```.*?^```$|`[^`\n]*`", "", text.read_text(), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", prose)
    for link in (link for link in links if "://" not in link):
        place, _, anchor = link.partition("#")
        target = (text.parent / place) if place else text
        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            heads = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in anchors, f"{link}: no such heading"


def test_the_readme_shows_the_examples_of_the_front_page():
    blocks = [
        re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)
        for path in (ROOT / "README.md", ROOT / "docs" / "index.md")
    ]
    assert len(blocks[0]) == len(PACKAGES)
    assert blocks[0] == blocks[1]


def recorded(package: str, case: str, candidate: str) -> float:
    """The value of a line of ``bench speed``."""
    lines = (ROOT / "docs" / "records" / "speed" / f"{package}.jsonl").read_text().splitlines()
    (value,) = (row["value"] for row in map(json.loads, lines) if (row["case"], row["candidate"]) == (case, candidate))
    return value


def test_the_overheads_of_the_wrappers_are_those_of_the_records():
    readme = " ".join((ROOT / "packages" / "pulseopt" / "README.md").read_text().split())
    step = recorded("pulseopt", "AdamW step, 300 tensors, 3 M parameters", "AEES")
    search = recorded("pulseopt", "training step, MLP with 670 k parameters, batch 256", "AEES, searching")
    assert f"takes {step:.1f} % longer under AEES" in readme
    assert f"{search:.1f} % longer during the search" in readme
    page = (ROOT / "docs" / "packages" / "adaptive-optimizer.md").read_text()
    signals, every = "loss and reward every step", "AdaptiveOptimizer(AdamW), every rule"
    python = recorded("adaptive-optimizer", f"overhead of the Python, one small tensor, {signals}", every)
    whole = recorded("adaptive-optimizer", f"200 tensors, 10 M parameters, {signals}", every)
    assert f"| at most 60 µs | {python:.1f} µs |" in page
    assert f"| at most 2 % | {whole:.2f} % |" in page
