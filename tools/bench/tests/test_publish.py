from pathlib import Path

import pytest
from bench.commands.publish import BEGIN, END, claim_pictures, generated, publish, replaced
from bench.records.store import Store
from bench.report.analysis import analyse
from bench.report.pages import PACKAGES

ROOT = Path(__file__).parents[3]
RECORDS = sorted((ROOT / "docs" / "records" / "bench").glob("*.jsonl.gz"))


@pytest.fixture
def workspace(tmp_path, fabricate):
    """A workspace of empty READMEs, and the records of two tuned methods."""
    for folder in (tmp_path, *(tmp_path / "packages" / name for name in PACKAGES)):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "README.md").write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    (tmp_path / "docs").mkdir()
    store = Store(tmp_path / "records.jsonl")
    for entry, tests in (("adamw", (0.80, 0.81, 0.79, 0.80, 0.82)), ("thermolion", (0.85, 0.86, 0.84, 0.86, 0.86))):
        for record in fabricate.study(entry, tests):
            store.append(record)
    store.close()
    return tmp_path


def test_what_readers_see_is_what_the_records_say():
    for path, text in generated(ROOT, RECORDS).items():
        assert path.read_text(encoding="utf-8") == text, f"{path.relative_to(ROOT)}: run bench publish"


def test_every_figure_of_the_evidence_page_is_there():
    page = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    shown = [line.split("](")[1].rstrip(")") for line in page.splitlines() if line.startswith("![")]
    assert bool(shown) == bool(RECORDS)
    assert all((ROOT / "docs" / figure).is_file() for figure in shown)


def test_publishing_shows_the_records_and_leaves_the_rest_alone(workspace):
    figures = workspace / "docs" / "_static" / "bench"
    figures.mkdir(parents=True)
    (figures / "of-another-profile.svg").write_text("<svg/>")
    publish(workspace, [workspace / "records.jsonl"])
    readme = (workspace / "packages" / "thermolion" / "README.md").read_text()
    assert readme.startswith(f"before\n{BEGIN}\n")
    assert readme.endswith(f"{END}\nafter\n")
    assert "| 0.8540 ± 0.0089 | 0.804 ± 0.011 | AdamW | +0.0500 [" in readme
    assert "old" not in readme
    other = (workspace / "packages" / "torcheggroll" / "README.md").read_text()
    assert "**not measured**" in other
    assert "Not complete yet, no verdict" in other
    forest = figures / "quick-mnist5k-noise-gradient-forest.svg"
    curves = forest.name.replace("forest", "curves")
    drawn = {path.name for path in figures.iterdir()}
    claims = {f"claim-{package}.svg" for package in PACKAGES}
    assert drawn == {forest.name, curves, "all-profile.svg", *claims}
    assert "not run to the end" in (figures / "claim-torcheggroll.svg").read_text()
    assert (figures / "claim-thermolion.svg").read_text() == forest.read_text()


def test_the_picture_of_a_claim_over_the_rate_is_the_curve_over_the_rate(fabricate):
    results = analyse(
        [record for entry in ("adamw", "aees-find", "aees-adamw", "aees-random") for record in fabricate.study(entry)]
    )
    name = results[0].name
    drawn = {f"{name}-forest": "forest", f"{name}-rates": "rates"}
    assert claim_pictures(results, drawn)["claim-pulseopt"] == "forest"  # of the first claim that was measured
    assert claim_pictures(results, {f"{name}-rates": "rates"})["claim-pulseopt"] == "rates"


def test_a_study_cut_short_is_named_and_gives_no_verdict(tmp_path, workspace, fabricate):
    *whole, last = fabricate.study("lion", tests=(0.9,) * 5, selection=fabricate.selection("lion", untuned_seeds=[]))
    store = Store(tmp_path / "records.jsonl")
    for record in whole:
        store.append(record)
    short = generated(workspace, [store.path])
    store.append(last)
    store.close()
    page = workspace / "docs" / "evidence.md"
    assert "accuracy" not in short[page]
    long = generated(workspace, [store.path])
    lacking = [text[page].split("no verdict:")[1].split("\n")[0] for text in (short, long)]
    assert ["Digits with 40 % wrong labels" in names for names in lacking] == [True, False]


def test_methods_that_a_profile_means_to_run_and_did_not_are_named(workspace):
    text = generated(workspace, [workspace / "records.jsonl"])
    named = "Methods not run yet: Digits with 40 % wrong labels: Lion, Lookahead(RAdam), Schedule-free AdamW"
    assert named in text[workspace / "docs" / "evidence.md"]
    assert "Methods not run yet" not in text[workspace / "packages" / "torcheggroll" / "README.md"]


def test_nothing_run_is_said_everywhere(workspace):
    for path, text in generated(workspace, []).items():
        assert "Not complete yet, no verdict" in text, path


def test_a_number_changed_by_hand_is_seen(workspace):
    records = [workspace / "records.jsonl"]
    publish(workspace, records)
    readme = workspace / "packages" / "thermolion" / "README.md"
    assert generated(workspace, records)[readme] == readme.read_text()
    readme.write_text(readme.read_text().replace("0.8540", "0.8640"))
    assert generated(workspace, records)[readme] != readme.read_text()


@pytest.mark.parametrize("text", ["none", BEGIN, f"{END} {BEGIN}", f"{BEGIN} {END} {BEGIN} {END}"])
def test_a_page_without_one_place_for_its_table_is_refused(text):
    with pytest.raises(ValueError, match="once each"):
        replaced(Path("README.md"), text, [])
