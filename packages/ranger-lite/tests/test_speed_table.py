"""The README's table of times is the records', row by row."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
RECORDS = ROOT / "docs" / "records" / "speed" / "ranger-lite.jsonl"
README = Path(__file__).parents[1] / "README.md"


def table(records):
    """Return the lines of the table, cases across."""
    rows = [record for record in records if record["ratio"] is not None and record["device"] == "cpu"]
    cases = list(dict.fromkeys(row["case"] for row in rows))
    names = list(dict.fromkeys(row["candidate"] for row in rows))
    ratio = {(row["candidate"], row["case"]): f"{row['ratio']:.2f}" for row in rows}
    lines = ["| | " + " | ".join(cases) + " |", "|---|" + "---|" * len(cases)]
    return lines + [f"| {name} | " + " | ".join(ratio[name, case] for case in cases) + " |" for name in names]


@pytest.mark.skipif(not RECORDS.exists(), reason="needs the workspace's records")
def test_the_readme_shows_the_records():
    records = [json.loads(line) for line in RECORDS.read_text(encoding="utf-8").splitlines()]
    shown = README.read_text(encoding="utf-8").split("<!-- speed -->")[1].split("<!-- /speed -->")[0]
    assert shown.strip().splitlines() == table(records)
