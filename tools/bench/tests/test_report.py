import csv
import io
import re

import pytest
from bench.records.models import Session, Trial
from bench.report.analysis import analyse, shared_flags
from bench.report.claims import judge_all
from bench.report.sentences import sentences
from bench.report.statistics import paired
from bench.report.tables import interval, summary
from bench.report.write import write

BETTER = (0.90, 0.915, 0.89, 0.90, 0.92)


@pytest.fixture
def records(fabricate):
    session = Session(
        profile="quick",
        estimate=10.0,
        wall=11.0,
        cpu=20.0,
        workers=2,
        made=3,
        found=0,
        complete=True,
        machine=fabricate.machine,
    )
    controlled = {"decisions": 30, "arms": {"raise": 20, "lower": 10}, "trace": {"lr": [0.1, 0.2]}}
    return [
        *fabricate.study("adamw"),
        *fabricate.study("thermolion", tests=BETTER),
        *fabricate.study("adaptive-adamw", tests=(0.81, 0.80, 0.79, 0.81, 0.81), **controlled),
        session.seal(),
    ]


def test_verdicts_come_from_pairs(records):
    (result,) = analyse(records)
    assert result.entry("thermolion").verdict == "better"
    assert result.entry("adaptive-adamw").verdict == "tie"
    assert result.entry("thermolion").comparison.mean == pytest.approx(0.101)


def test_lower_is_better_turns_the_sign(fabricate):
    records = [
        *fabricate.study("adamw", selection=fabricate.selection("adamw", better="lower")),
        *fabricate.study("thermolion", tests=BETTER, selection=fabricate.selection("thermolion", better="lower")),
    ]
    assert analyse(records)[0].entry("thermolion").verdict == "worse"


def test_the_sentence_says_better_tie_or_worse(records):
    found = sentences(analyse(records))
    assert any(
        line.startswith("ThermoLion against tuned AdamW, 1 workload, 5 seeds each: better on 1") for line in found
    )
    assert any("AdaptiveOptimizer(AdamW)" in line and "a tie on 1" in line for line in found)


def test_each_of_our_methods_has_a_claim_that_can_fail(records):
    outcomes = {outcome.claim.entry: outcome.result for outcome in judge_all(analyse(records))}
    assert outcomes["thermolion"] == "shown"
    assert outcomes["torcheggroll"] == "not measured"
    assert len(outcomes) == 5


def test_misses_are_counted_and_never_dropped(fabricate):
    selection = fabricate.selection(target=0.79)
    records = fabricate.study(selection=selection)
    records[-3] = fabricate.run(seed=4, value=0.5, test=0.5)  # the last final seed misses the target
    entry = analyse(records)[0].entry("adamw")
    assert entry.steps_to_target() == [10, 10, 10, 10, None]
    assert entry.median_steps() == 10


def test_the_page_is_complete_in_itself(records, tmp_path):
    written = write(records, tmp_path)
    page = written.html.read_text()
    assert not re.search(r"""(?:src|href|xlink:href)\s*=\s*["'](?:https?:)?//""", page)
    assert not re.search(r"<link|@import|url\(\s*['\"]?https?:", page)
    assert len(page.encode()) < 2_000_000
    for part in ("ThermoLion", "Learning curves", "What the controllers did", "How it was measured"):
        assert part in page
    assert page.count("<svg") >= 4
    assert "nan" not in re.sub(r"<(svg|script|style).*?</\1>", "", page, flags=re.S).lower()


def test_the_page_is_made_from_the_records_alone(records, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = write(records, tmp_path / "a").html.read_text()
    second = write(records, tmp_path / "b").html.read_text()
    assert first == second


def test_the_csv_has_a_line_per_arm(records):
    rows = list(csv.DictReader(io.StringIO(summary(analyse(records)))))
    assert [row["entry"] for row in rows] == ["adamw", "thermolion", "adaptive-adamw"]
    assert rows[0]["verdict"] == "reference"
    assert float(rows[1]["difference"]) == pytest.approx(0.101)
    assert rows[1]["untuned_mean"] == "0.61"


def test_no_finished_study_is_no_report(fabricate, tmp_path):
    with pytest.raises(ValueError, match="at least one tuned workload"):
        write([fabricate.run()], tmp_path)


def flags(entry, records):
    return analyse(records)[0].entry(entry).flags


def test_a_clean_study_has_no_flag(records):
    assert flags("thermolion", records) == []


def test_every_broken_rule_is_flagged(fabricate):
    base = fabricate.study("adamw")

    def flagged(tests=BETTER, selection=None, **more):
        records = [*base, *fabricate.study("lion", tests=tests, selection=selection, **more)]
        return set(flags("lion", records))

    choose = fabricate.selection
    assert "edge" in flagged(selection=choose("lion", edge=True))
    assert "few seeds" in flagged(tests=BETTER[:3], selection=choose("lion", final_seeds=[0, 1, 2]))
    one_seed = [Trial(params={"lr": 0.001}, values=[0.8])]
    assert "one-seed tuning" in flagged(selection=choose("lion", tuning_seeds=[1000], trials=one_seed))
    assert "shared seeds" in flagged(selection=choose("lion", tuning_seeds=[4, 1001]))
    two = [Trial(params={"lr": 0.001}, values=[0.8, 0.8]), Trial(params={"lr": 0.003}, values=[0.7, 0.7])]
    assert "unequal tuning" in flagged(selection=choose("lion", trials=two))
    assert "unproven choice" in flagged(selection=choose("lion", chosen={"lr": 0.003}))
    assert "few decisions" in flagged(decisions=3)
    busy = fabricate.machine.model_copy(update={"load": 9.0})
    assert "busy host" in flagged(machine=busy)


def test_a_test_read_in_tuning_and_a_missing_partner_are_flagged(fabricate):
    peeked = fabricate.run("adamw", 1000, 0.8, role="final", test=0.8, params={"lr": 0.001})
    assert "tested in tuning" in flags("adamw", [*fabricate.study("adamw"), peeked])
    lonely = fabricate.study("adamw", tests=(0.8,) * 4, selection=fabricate.selection(final_seeds=[0, 1, 2, 3]))
    assert "unpaired" in flags("lion", [*lonely, *fabricate.study("lion", tests=BETTER)])


def test_divergence_counts_against_the_method(fabricate):
    records = [*fabricate.study("adamw"), *fabricate.study("lion", tests=BETTER)]
    records.append(fabricate.run("lion", 2, value=None))
    entry = analyse(records)[0].entry("lion")
    assert "diverged" in entry.flags
    assert entry.verdict == "worse"


@pytest.mark.parametrize("diverging", [1, 5])
def test_a_claim_of_a_method_that_diverges_more_is_refuted(diverging, fabricate):
    records = [*fabricate.study("adamw"), *fabricate.study("thermolion", tests=BETTER)]
    records += [fabricate.run("thermolion", seed, value=None) for seed in range(diverging)]
    outcome = next(found for found in judge_all(analyse(records)) if found.claim.entry == "thermolion")
    assert outcome.result == "refuted"
    assert f"{diverging} of 5 runs diverged, 0 of AdamW" in outcome.detail


def test_promises_are_corrected_for_their_number(fabricate):
    close = (0.81, 0.825, 0.792, 0.81, 0.845)  # p is 0.03 alone, 0.06 of two
    records = [*fabricate.study("adamw"), *fabricate.study("thermolion", tests=close)]
    alone = {found.claim.entry: found for found in judge_all(analyse(records))}
    assert alone["thermolion"].result == "shown"
    records += fabricate.study("aees-adamw", tests=(0.80, 0.82, 0.79, 0.80, 0.81), decisions=30)
    together = {found.claim.entry: found for found in judge_all(analyse(records))}
    assert together["thermolion"].result == "not shown"
    assert "(Holm)" in together["thermolion"].detail


def test_the_reference_stands_first_then_ours(fabricate):
    records = [record for entry in ("lion", "thermolion", "adamw") for record in fabricate.study(entry)]
    assert [entry.entry for entry in analyse(records)[0].entries] == ["adamw", "thermolion", "lion"]


def test_a_flag_that_everyone_carries_is_said_once(fabricate):
    busy = {"machine": fabricate.machine.model_copy(update={"load": 9.0})}
    records = [*fabricate.study("adamw", **busy), *fabricate.study("thermolion", tests=BETTER, **busy)]
    assert shared_flags(analyse(records)[0]) == ["busy host"]
    records += fabricate.study("lion")
    assert shared_flags(analyse(records)[0]) == []


@pytest.mark.parametrize(
    ("differences", "shown"),
    [
        ([0.01, 0.02, 0.03], "+0.020 [-0.005, +0.045]"),
        ([-100.0, -300.0, -200.0], "-200 [-448, +48]"),
        ([1e-9, -1e-3, 1e-3], "+0.0000 [-0.0025, +0.0025]"),
        ([0.5, 0.5], "+0.500 [+0.500, +0.500]"),
    ],
)
def test_an_interval_has_as_many_places_as_it_knows(differences, shown):
    assert interval(paired(differences)) == shown
