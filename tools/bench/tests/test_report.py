import csv
import io
import re

import pytest
from bench.methods.table import METHODS
from bench.records.models import Run, Selection, Session, Trial
from bench.report.analysis import analyse, ranks, shared_flags, widely_compared
from bench.report.claims import judge_all, latest, withdrawn
from bench.report.pages import PACKAGES, evidence, of_package
from bench.report.results import at_equal_cpu, differences_at_equal_cpu
from bench.report.sentences import sentence_of, sentences
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
    assert result.entry("adaptive-adamw").verdict == "undecided"
    assert result.entry("thermolion").comparison.mean == pytest.approx(0.101)


def test_lower_is_better_turns_the_sign(fabricate):
    records = [
        *fabricate.study("adamw", selection=fabricate.selection("adamw", better="lower")),
        *fabricate.study("thermolion", tests=BETTER, selection=fabricate.selection("thermolion", better="lower")),
    ]
    assert analyse(records)[0].entry("thermolion").verdict == "worse"


def test_the_sentence_counts_the_verdicts(records):
    found = sentences(analyse(records))
    assert any(line.startswith("ThermoLion against the best AdamW: better on 1") for line in found)
    assert any("AdaptiveOptimizer(AdamW)" in line and "undecided on 1" in line for line in found)


def test_each_of_our_methods_has_a_claim_that_can_fail(records):
    outcomes = {outcome.claim.entry: outcome.result for outcome in judge_all(analyse(records))}
    assert outcomes["adaptive-trend"] == "not measured"
    assert outcomes["torcheggroll-r4"] == "not measured"
    assert {METHODS[entry].package for entry in outcomes} == {*PACKAGES}


def test_misses_are_counted_and_never_dropped(fabricate):
    records = fabricate.study()
    records[-3] = fabricate.run(seed=4, value=0.5, test=0.5)  # the last final seed misses the target
    result = analyse(records)[0]
    assert result.target == 0.7  # what the chosen setting had on the tuning seeds after 70 % of a run
    assert result.entry("adamw").steps_to_target() == [5, 5, 5, 5, None]
    assert result.entry("adamw").median_steps() == 5


def test_the_target_is_the_references_and_owes_nothing_to_final_runs(fabricate):
    baseline, better = fabricate.study("adamw"), fabricate.study("thermolion", tests=BETTER)
    found = analyse([*better, *baseline])[0]
    assert found.target == found.entry("thermolion").target == 0.7
    tuning = [record for record in baseline if not isinstance(record, Run) or record.role == "tune"]
    other = [fabricate.run(seed=seed, value=0.3, test=0.3) for seed in range(5)]
    assert analyse([*better, *tuning, *other])[0].target == 0.7


def test_the_page_is_complete_in_itself(records, tmp_path):
    written = write(records, tmp_path)
    page = written.html.read_text()
    assert not re.search(r"""(?:src|href|xlink:href)\s*=\s*["'](?:https?:)?//""", page)
    assert not re.search(r"<link|@import|url\(\s*['\"]?https?:", page)
    assert len(page.encode()) < 2_000_000
    for part in ("ThermoLion", "Learning curves", "What the controllers did", "How it was measured"):
        assert part in page
    assert page.count("grey: mean of AdamW") == 1
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
    assert "widened" in flagged(selection=choose("lion", widened=True))
    assert "unproven choice" in flagged(selection=choose("lion", chosen={"lr": 0.003}))
    assert "few decisions" in flagged(decisions=3)
    busy = fabricate.machine.model_copy(update={"load": 9.0})
    assert "busy host" in flagged(machine=busy)


@pytest.mark.parametrize(("first", "misled"), [(0.5, True), (0.9, False)])
def test_a_documented_setting_that_short_runs_had_dropped_is_flagged(first, misled, fabricate):
    trials = [
        Trial(params={"lr": 0.001}, values=[first, first], stage=1),
        Trial(params={"lr": 0.003}, values=[0.7, 0.7], stage=1),
        Trial(params={"lr": 0.003}, values=[0.6, 0.6], stage=2),
        Trial(params={"lr": 0.001}, values=[0.8, 0.8], stage=2),
    ]
    documented = {"trials": trials, "untuned": {"lr": 0.001}, "documented": True}
    records = fabricate.study(selection=fabricate.selection(**documented))
    (result,) = analyse(records)
    assert ("stage 1 misled" in result.entry("adamw").flags) == misled
    assert ("search of AdamW: they would have dropped" in evidence([result])) == misled
    assert ("search of AdamW: they would have dropped" in "".join(of_package("thermolion", [result]))) is False
    compared = fabricate.study("thermolion", tests=BETTER)[1:]
    chosen = fabricate.selection("thermolion", documented=True)
    (both,) = analyse([*records, chosen, *compared])
    shown = "better on 1 (Digits with 40 % wrong labels" + " with the documented setting" * misled + ")"
    assert shown in sentence_of("thermolion", [both])
    (older,) = analyse(fabricate.study(selection=fabricate.selection(trials=trials, untuned={"lr": 0.001})))
    assert not older.misled


def test_where_every_box_was_widened_equal_numbers_are_equal_tuning(fabricate):
    alone = analyse(fabricate.study("adamw", selection=fabricate.selection(widened=True)))
    assert "unequal tuning" not in alone[0].entries[0].flags
    beside = fabricate.study("lion", selection=fabricate.selection("lion", widened=True))
    (result,) = analyse([*fabricate.study("adamw"), *beside])
    assert "unequal tuning" in result.entry("lion").flags  # as many as one that was not widened


def test_a_documented_setting_that_goes_on_anyway_is_no_unequal_tuning(fabricate):
    short = [Trial(params={"lr": lr}, values=[0.7, 0.7], stage=1) for lr in (0.001, 0.003, 0.01)]
    long = {lr: Trial(params={"lr": lr}, values=[0.8, 0.8], stage=2) for lr in (0.001, 0.003, 0.01)}
    more = fabricate.selection(trials=[*short, *long.values()], documented=True)
    less = fabricate.selection("lion", trials=[*short, long[0.001], long[0.003]], documented=True)
    records = [*fabricate.study(selection=more), *fabricate.study("lion", selection=less)]
    assert not any("unequal tuning" in entry.flags for entry in analyse(records)[0].entries)


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


def on(workload, fabricate, entry, tests, **more):
    """A study of an entry on another workload."""
    chosen = more.pop("chosen", {"lr": 0.001})
    selection = fabricate.selection(entry, workload=workload, chosen=chosen, **more)
    return [
        record if isinstance(record, Selection) else replaced(record, workload)
        for record in fabricate.study(entry, tests=tests, selection=selection)
    ]


def replaced(run, workload, **more):
    config = run.config.model_copy(update={"workload": workload, **more})
    return run.model_copy(update={"config": config, "key": config.key, "digest": ""}).seal()


def outcome_of(entry, records, workload="diamonds"):
    found = judge_all(analyse(records))
    return next(o for o in found if o.claim.entry == entry and o.claim.workload == workload)


WORSE = (0.70, 0.715, 0.69, 0.70, 0.72)
EVEN = (0.80, 0.81, 0.79, 0.80, 0.82)


@pytest.mark.parametrize(("tests", "result"), [(BETTER, "shown"), (EVEN, "not shown"), (WORSE, "refuted")])
def test_a_claim_of_a_difference_is_judged_by_the_interval(tests, result, fabricate):
    records = [*on("diamonds", fabricate, "adamw", EVEN), *on("diamonds", fabricate, "thermolion", tests)]
    assert outcome_of("thermolion", records).result == result


@pytest.mark.parametrize(("tests", "result"), [(BETTER, "shown"), (EVEN, "shown"), (WORSE, "refuted")])
def test_a_claim_of_being_no_worse_is_judged_by_the_margin(tests, result, fabricate):
    slightly = tuple(test + 0.0001 * i for i, test in enumerate(tests))
    records = [*on("diamonds", fabricate, "lookahead-radam", EVEN), *on("diamonds", fabricate, "rangerlite", slightly)]
    assert outcome_of("rangerlite", records).result == result


def test_an_interval_wider_than_the_margin_shows_no_non_inferiority(fabricate):
    wide = (0.70, 0.91, 0.79, 0.85, 0.78)
    records = [*on("diamonds", fabricate, "lookahead-radam", EVEN), *on("diamonds", fabricate, "rangerlite", wide)]
    assert outcome_of("rangerlite", records).result == "not shown"


def over_the_rate(fabricate, lower, diverged=0):
    """AEES(find) at three rates, ``lower`` than AdamW at the lowest of them."""
    seeds, rates = [0, 1, 2, 3, 4], [0.1, 10.0]
    more = {"rates": rates, "rate_seeds": seeds, "untuned": {"lr": 0.5}}
    records = on("mnist5k-noise", fabricate, "adamw", EVEN)
    records += on("mnist5k-noise", fabricate, "aees-find", tuple(test - 0.005 for test in EVEN), **more)
    for lr, less in ((0.0001, lower), (0.01, 0.0)):
        for seed, test in enumerate(EVEN):
            value = None if lr == 0.01 and seed < diverged else 0.8
            spread = test - less - 0.0001 * seed
            run = fabricate.run("aees-find", seed, value=value, test=spread, role="rate", params={"lr": lr})
            records.append(replaced(run, "mnist5k-noise"))
    return records


@pytest.mark.parametrize(
    ("lower", "diverged", "result"),
    [(0.01, 0, "shown"), (0.0199, 0, "not shown"), (0.04, 0, "refuted"), (0.01, 1, "refuted")],
)
def test_a_claim_over_the_rate_is_judged_at_the_worst_rate(lower, diverged, result, fabricate):
    outcome = outcome_of("aees-find", over_the_rate(fabricate, lower, diverged), "mnist5k-noise")
    assert outcome.result == result
    assert "margin 0.02, at 0.1 times its rate, the worst of 3" in outcome.detail


def test_a_claim_over_the_rate_waits_for_every_rate(fabricate):
    outcome = outcome_of("aees-find", over_the_rate(fabricate, 0.0)[:-1], "mnist5k-noise")
    assert outcome.result == "not measured"


def test_one_workload_under_two_rules_of_search_is_refused(fabricate):
    newer = fabricate.study("thermolion", selection=fabricate.selection("thermolion", documented=True))
    with pytest.raises(ValueError, match="mnist5k-noise must be searched under one rule"):
        analyse([*fabricate.study("adamw"), *newer])
    elsewhere = on("diamonds", fabricate, "thermolion", BETTER, documented=True)
    assert len(analyse([*fabricate.study("adamw"), *elsewhere])) == 2


@pytest.mark.parametrize("diverging", [1, 5])
def test_a_claim_of_a_method_that_diverges_more_is_refuted(diverging, fabricate):
    records = [*on("diamonds", fabricate, "adamw", EVEN), *on("diamonds", fabricate, "thermolion", BETTER)]
    broken = [fabricate.run("thermolion", seed, value=None) for seed in range(diverging)]
    outcome = outcome_of("thermolion", [*records, *(replaced(run, "diamonds") for run in broken)])
    assert outcome.result == "refuted"
    assert f"{diverging} of 5 runs diverged, 0 of AdamW" in outcome.detail


FRESH = [20, 21, 22, 23, 24]


def judged_again(fabricate, entry, tests, again):
    """A study on diamonds with runs on fresh seeds; an ``again`` of None leaves a run out."""
    runs = [
        replaced(fabricate.run(entry, seed, test=test, role="fresh"), "diamonds")
        for seed, test in zip(FRESH, again, strict=True)
        if test is not None
    ]
    return [*on("diamonds", fabricate, entry, tests, fresh_seeds=FRESH), *runs]


def outcomes_of(records, entry="thermolion"):
    return [outcome for outcome in judge_all(analyse(records)) if outcome.claim.entry == entry]


@pytest.mark.parametrize(
    ("again", "results", "failed"),
    [
        (EVEN, ["not shown", "not shown"], True),
        (WORSE, ["not shown", "refuted"], True),
        (BETTER, ["not shown", "shown"], False),
        ((*BETTER[:4], None), ["not shown", "not measured"], False),
    ],
)
def test_fresh_seeds_judge_a_claim_once_more(again, results, failed, fabricate):
    records = [
        *judged_again(fabricate, "adamw", EVEN, EVEN),
        *judged_again(fabricate, "thermolion", EVEN, again),
    ]
    first = [o for o in outcomes_of(records) if o.claim.against == "adamw"]
    assert [(o.fresh, o.result) for o in first] == [*zip((False, True), results, strict=True)]
    assert withdrawn(first) == ({first[0].claim} if failed else set())
    assert [o.result for o in latest(first)] == [results[0] if results[1] == "not measured" else results[1]]


def test_a_claim_written_late_is_judged_on_fresh_seeds_alone(fabricate):
    records = [
        *judged_again(fabricate, "adamw", EVEN, EVEN),
        *judged_again(fabricate, "lion", EVEN, EVEN),
        *judged_again(fabricate, "thermolion", WORSE, BETTER),
    ]
    late = [o for o in outcomes_of(records) if o.claim.late]
    assert [(o.claim.against, o.fresh, o.result) for o in late] == [("lion", True, "shown")]
    without = [o for o in outcomes_of(on("diamonds", fabricate, "thermolion", BETTER)) if o.claim.late]
    assert [(o.fresh, o.result) for o in without] == [(True, "not measured")]


def test_a_claim_that_failed_before_is_withdrawn_when_it_fails_again(fabricate):
    for tests, gone in ((EVEN, True), (BETTER, False)):
        records = [*fabricate.study("aees-random", EVEN, decisions=30)]
        records += fabricate.study("aees-adamw", tests, decisions=30)
        found = outcomes_of(records, "aees-adamw")
        assert withdrawn(found) == ({found[0].claim} if gone else set())


def test_a_claim_withdrawn_leaves_the_readme_and_stays_on_the_page(fabricate):
    records = [
        *judged_again(fabricate, "adamw", EVEN, EVEN),
        *judged_again(fabricate, "thermolion", EVEN, WORSE),
    ]
    results = analyse(records)
    claim = next(o.claim for o in outcomes_of(records) if o.claim.against == "adamw")
    assert claim.text not in "\n".join(of_package("thermolion", results))
    bullets, rows = evidence(results).split("<!-- /verdicts -->")
    assert claim.text not in bullets
    assert rows.count(claim.text) == 2
    assert "**not shown**, withdrawn" in rows
    assert "**refuted**, withdrawn" in rows


@pytest.mark.parametrize(("ours", "dense", "result"), [(0.2, 0.6, "shown"), (0.6, 0.2, "refuted")])
def test_a_claim_after_equal_cpu_time_reads_both_curves_where_the_faster_ends(ours, dense, result, fabricate):
    records = []
    for entry, seconds, value in (("openai-es", dense, 0.70), ("torcheggroll-r4", ours, 0.72)):  # half-way 0.1 less
        records.append(fabricate.selection(entry, workload="wide-mnist", family="es", fresh_seeds=FRESH))
        for seed in (*range(5), *FRESH):
            run = fabricate.run(entry, seed, value=value + 0.001 * (seed % 3 if ours == 0.2 else 0))
            curve = run.curve.model_copy(update={"cpu": [0.1, seconds]})
            records.append(replaced(run.model_copy(update={"curve": curve}), "wide-mnist", family="es"))
    (found,) = (o for o in outcomes_of(records, "torcheggroll-r4") if o.claim.kind == "better after equal CPU time")
    assert (found.fresh, found.result) == (True, result)
    assert "validation accuracy after equal CPU seconds" in found.detail


@pytest.mark.parametrize(("seconds", "result"), [(0.1, "shown"), (0.4, "refuted")])
def test_a_claim_of_being_faster_needs_less_cpu_time(seconds, result, fabricate):
    cost = fabricate.run().cost.model_copy(update={"train_cpu": seconds})
    chosen = {"workload": "wide-mnist", "family": "es"}
    records = [
        record if isinstance(record, Selection) else replaced(record, "wide-mnist", family="es")
        for entry, more in (("openai-es", {}), ("torcheggroll-r4", {"cost": cost}))
        for record in fabricate.study(entry, EVEN, fabricate.selection(entry, **chosen), **more)
    ]
    outcome = outcome_of("torcheggroll-r4", records, "wide-mnist")
    assert outcome.result == result
    assert f"{seconds / 0.2:.2f} of its CPU seconds; validation after equal CPU seconds" in outcome.detail


def test_the_report_shows_the_difference_at_equal_cpu_seconds(records, tmp_path):
    (result,) = analyse(records)
    shown = interval(at_equal_cpu(result, result.entry("thermolion")))
    assert at_equal_cpu(result, result.entry("adamw")) is None
    assert f"<td>{shown}</td>" in write(records, tmp_path).html.read_text()


def test_equal_cpu_seconds_are_those_of_the_faster_run(fabricate):
    slow = fabricate.run().curve.model_copy(update={"cpu": [1.0, 2.0]})
    fast = {0: fabricate.run(value=0.9)}  # evaluated at 0.1 and 0.2 s: 0.8, then 0.9
    assert differences_at_equal_cpu(fast, {0: fabricate.run(curve=slow)}, 1) == []
    half = slow.model_copy(update={"cpu": [0.15, 0.6]})  # 0.7 after 0.15 s
    assert differences_at_equal_cpu(fast, {0: fabricate.run(curve=half)}, 1) == [pytest.approx(0.2)]


@pytest.mark.parametrize(("better", "share"), [("higher", 0.25), ("lower", -0.25)])
def test_the_page_says_how_much_the_reference_still_improves(better, share, fabricate):
    values = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    curve = fabricate.run().curve.model_copy(update={"value": values, "step": [*range(10)]})
    study = fabricate.study("adamw", selection=fabricate.selection(better=better), curve=curve)
    (result,) = analyse(study)
    assert result.still_improving() == pytest.approx(share)
    assert f"In the last fifth of its runs, AdamW improves by {100 * share:.1f} %." in evidence([result])


def test_claims_are_corrected_for_their_number(fabricate):
    close = (0.81, 0.825, 0.792, 0.81, 0.845)  # p is 0.03 alone, 0.06 of two
    records = [*on("diamonds", fabricate, "adamw", EVEN), *on("diamonds", fabricate, "thermolion", close)]
    assert outcome_of("thermolion", records).result == "shown"
    records += fabricate.study("aees-adamw", tests=(0.80, 0.82, 0.79, 0.80, 0.81), decisions=30)
    records += fabricate.study("aees-random", tests=EVEN, decisions=30)
    together = outcome_of("thermolion", records)
    assert together.result == "not shown"
    assert "(Holm)" in together.detail


def test_records_of_another_protocol_are_refused(fabricate):
    (*records, last) = fabricate.study("adamw")
    config = last.config.model_copy(update={"protocol": 1})
    old = last.model_copy(update={"config": config, "key": config.key, "digest": ""}).seal()
    with pytest.raises(ValueError, match=r"must be of protocol 2, got some of \[1\]"):
        analyse([*records, old])


def test_an_ablation_is_compared_with_the_whole_method_and_has_no_rank(fabricate):
    cold = fabricate.selection(
        "thermolion-cold", follows="thermolion", trials=[Trial(params={"lr": 1.0}, values=[0.0])]
    )
    cold = cold.model_copy(update={"trials": []})
    records = [*fabricate.study("adamw"), *fabricate.study("thermolion", tests=BETTER), cold.seal()]
    records += [fabricate.run("thermolion-cold", seed, test=test) for seed, test in enumerate(EVEN)]
    results = analyse(records)
    (result,) = results
    assert result.entry("thermolion-cold").against == "thermolion"
    assert result.entry("thermolion-cold").verdict == "worse"
    assert "unproven choice" not in result.entry("thermolion-cold").flags
    assert set(ranks(2 * results)) == {"adamw", "thermolion"}


def test_a_workload_with_few_methods_does_not_cut_the_ranks_to_those(fabricate):
    entries = ("adamw", "thermolion", "lion", "sgd", "radam")
    records = [record for entry in entries for record in fabricate.study(entry)]
    assert len(ranks(2 * analyse(records))) == 5
    records += [record for entry in entries[:2] for record in on("cartpole", fabricate, entry, EVEN)]
    results = analyse(records)
    assert [result.workload for result in widely_compared(results)] == ["mnist5k-noise"]
    assert len(ranks(2 * results)) == 5


def test_holm_corrects_over_workloads_together(fabricate):
    close = (0.81, 0.825, 0.792, 0.81, 0.845)  # p is 0.03 alone
    one = [*fabricate.study("adamw"), *fabricate.study("thermolion", tests=close)]
    assert analyse(one)[0].entry("thermolion").verdict == "better"
    both = [*one, *on("diamonds", fabricate, "adamw", EVEN), *on("diamonds", fabricate, "thermolion", close)]
    assert analyse(both)[0].entry("thermolion").adjusted_p > 0.05


def test_the_width_of_the_good_range_is_read_between_rates(fabricate):
    selection = fabricate.selection(rates=[0.05, 10.0], rate_seeds=[0, 1])
    records = fabricate.study(selection=selection, tests=(0.8,) * 5)
    for lr, test in ((0.00005, 0.72), (0.01, 0.8)):
        records += [fabricate.run(seed=seed, test=test, role="rate", params={"lr": lr}) for seed in (0, 1)]
    entry = analyse(records)[0].entry("adamw")
    assert entry.rate_curve() == [(0.00005, pytest.approx(0.72)), (0.001, 0.8), (0.01, 0.8)]
    assert entry.good_decades() == pytest.approx(1.13, abs=0.01)  # 1 % of 0.8 is a tenth of the fall


def test_the_choices_that_stage_2_could_not_tell_apart_are_told(fabricate):
    trials = [
        Trial(params={"lr": 0.001}, values=[0.80, 0.82], stage=2),
        Trial(params={"lr": 0.003}, values=[0.81, 0.80], stage=2),
        Trial(params={"lr": 0.01}, values=[0.40, 0.42], stage=2),
    ]
    selection = fabricate.selection(trials=trials)
    entry = analyse(fabricate.study(selection=selection))[0].entry("adamw")
    assert [trial.params["lr"] for trial in entry.alternatives()] == [0.003]
    assert entry.tuning_range() == pytest.approx((0.805, 0.81))


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
