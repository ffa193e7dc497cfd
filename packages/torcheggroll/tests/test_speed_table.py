"""The tables of speed and memory in the README and the docs are the records', row by row."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
RECORDS = ROOT / "docs" / "records" / "speed" / "torcheggroll.jsonl"
README = Path(__file__).parents[1] / "README.md"
SIGNS = {"percent at least": "≥ {} %", "number at least": "≥ {} {}", "number at most": "≤ {} {}"}


def measured(row):
    if row["ratio"] is not None:
        return f"{100 / row['ratio']:.1f} %"  # a digit more than the bars have: 74.7 is not 75
    return "not measured" if row["number"] is None else f"{row['number']:.3g} {row['unit']}"


def bar(row):
    kind, _, limit = row["bar"].rpartition(" ")
    return SIGNS[kind].format(limit, row["unit"]) if kind else ""


def table(records):
    """Return the lines of the table; percent are of the speed of pure inference."""
    rows = [row for row in records if row["candidate"] != "pure inference"]
    cells = [(row["case"], row["candidate"], measured(row), bar(row)) for row in rows]
    return ["| workload | | measured | bar |", "|---|---|---|---|", *(f"| {' | '.join(cell)} |" for cell in cells)]


@pytest.mark.skipif(not RECORDS.exists(), reason="needs the workspace's records")
def test_the_readme_shows_the_records():
    records = [json.loads(line) for line in RECORDS.read_text(encoding="utf-8").splitlines()]
    shown = README.read_text(encoding="utf-8").split("<!-- speed -->")[1].split("<!-- /speed -->")[0]
    assert shown.strip().splitlines() == table(records)


@pytest.mark.skipif(not RECORDS.exists(), reason="needs the workspace's records")
def test_the_page_tells_what_audits_cost():
    records = [json.loads(line) for line in RECORDS.read_text(encoding="utf-8").splitlines()]
    cost = {row["candidate"]: f"{row['number']:.2f} %" for row in records if row["case"].startswith("audits")}
    page = " ".join((ROOT / "docs" / "packages" / "torcheggroll.md").read_text(encoding="utf-8").split())
    told = f"adds {cost['MLP']} to the time of a step of the MLP, and {cost['transformer']} to one of the transformer"
    assert told in page
