"""The README's table of times is the records', row by row."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
RECORDS = ROOT / "docs" / "records" / "speed" / "thermolion.jsonl"
README = Path(__file__).parents[1] / "README.md"


def table(records):
    """Returns the lines of the table: one row per case, instruction set and number of threads, candidates across."""
    timed = [record for record in records if record["ratio"] is not None and record["device"] == "cpu"]
    names = list(dict.fromkeys(record["candidate"] for record in timed))
    rows = {}
    for record in timed:
        where = (record["case"], record["instruction_set"], record["threads"])
        rows.setdefault(where, {})[record["candidate"]] = f"{record['ratio']:.2f}"
    lines = ["| case | instructions | threads | " + " | ".join(names) + " |", "|---|---|---|" + "---|" * len(names)]
    for (case, instructions, threads), ratio in rows.items():
        lines.append(f"| {case} | {instructions} | {threads} | " + " | ".join(ratio[name] for name in names) + " |")
    return lines


@pytest.mark.skipif(not RECORDS.exists(), reason="needs the workspace's records")
def test_the_readme_shows_the_records():
    records = [json.loads(line) for line in RECORDS.read_text(encoding="utf-8").splitlines()]
    shown = README.read_text(encoding="utf-8").split("<!-- speed -->")[1].split("<!-- /speed -->")[0]
    assert shown.strip().splitlines() == table(records)


def test_a_ratio_that_changes_changes_the_table():
    record = {"ratio": 2.0, "device": "cpu", "candidate": "a", "case": "c", "instruction_set": "AVX2", "threads": 1}
    assert table([record])[-1] == "| c | AVX2 | 1 | 2.00 |"
    assert table([record]) != table([record | {"ratio": 2.1}])
    assert table([record | {"ratio": None}])[2:] == []
