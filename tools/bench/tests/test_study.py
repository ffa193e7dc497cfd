import math
from dataclasses import replace

import pytest
from bench.methods.table import METHODS
from bench.protocol.plan import alike, left_to_run
from bench.protocol.profiles import OURS, PROFILES, Profile
from bench.protocol.search import at_rate
from bench.protocol.study import Study
from bench.report.pages import PACKAGES
from bench.workloads.table import WORKLOADS

SMALL = Profile(
    "full",
    "",
    (),
    points=8,
    final_seeds=(0, 1, 2),
    untuned_seeds=(0,),
    long_seeds=(1000, 1001, 1002, 1003, 1004),
    rates=(0.1, 10.0),
    rate_seeds=(0, 1),
)
ENTRIES = ["adamw", "sgd", "thermolion"]


def play(study, fabricate, value_of):
    """Runs a study with made-up values; returns each request and the selections."""
    steps, asked, selections, got = study.go(), [], [], None
    while True:
        try:
            need = steps.send(got) if got is not None else next(steps)
        except StopIteration:
            return asked, {selection.entry: selection for selection in selections}
        asked.append(need.jobs)
        selections += need.selections
        got = {
            job.config.key: fabricate.run(job.config.entry, job.config.seed, value=value_of(job), role=job.role)
            for job in need.jobs
        }


@pytest.fixture
def study():
    return Study(SMALL, replace(WORKLOADS["mnist5k"], robustness=True), "gradient", ENTRIES)


def middle_is_best(job):
    low, high = METHODS[job.config.entry].box.lr
    return 1 - abs(math.log(job.config.params["lr"] / math.sqrt(low * high)))


def away_from_the_recommendation(job):
    low, high = METHODS[job.config.entry].box.lr
    return -abs(math.log(job.config.params["lr"] / low) / math.log(high / low) - 0.75)


def top_is_best_for_sgd(job):
    return job.config.params["lr"] if job.config.entry == "sgd" else middle_is_best(job)


def test_stage_1_runs_all_points_a_quarter_of_the_length_on_two_seeds(study, fabricate):
    asked, _ = play(study, fabricate, middle_is_best)
    full = study.budget.steps
    for entry in ENTRIES:
        mine = [job for job in asked[0] if job.config.entry == entry]
        assert len(mine) == 16
        assert {job.config.seed for job in mine} == {1000, 1001}
        assert {job.config.budget["steps"] for job in mine} == {full // 4}


def test_stage_2_runs_the_best_quarter_at_full_length_on_five_seeds(study, fabricate):
    asked, selections = play(study, fabricate, middle_is_best)
    assert len(asked) == 3  # stage 1, stage 2, final: nobody is widened
    for entry in ENTRIES:
        mine = [job for job in asked[1] if job.config.entry == entry]
        assert len(mine) == 2 * 5
        assert {job.config.budget["steps"] for job in mine} == {study.budget.steps}
        best = sorted((job for job in asked[0] if job.config.entry == entry), key=middle_is_best)[-1]
        assert selections[entry].chosen == best.config.params
    assert not any(selection.widened or selection.edge for selection in selections.values())


def worst_where_documented(study):
    documented = {entry: study.space(entry).recommended() for entry in ENTRIES}
    return lambda job: -9.0 if job.config.params == documented[job.config.entry] else middle_is_best(job)


def in_stage_2(asked, entry):
    full = max(job.config.budget["steps"] for job in asked[-1])
    return [
        job.config.params
        for jobs in asked[:-1]
        for job in jobs
        if job.config.entry == entry and job.config.budget["steps"] == full
    ]


def test_the_documented_setting_enters_stage_2_whatever_stage_1_makes_of_it(study, fabricate):
    always = replace(study, profile=replace(SMALL, documented=True))
    asked, selections = play(always, fabricate, worst_where_documented(study))
    for entry in ENTRIES:
        assert in_stage_2(asked, entry).count(study.space(entry).recommended()) == 5
        assert len(in_stage_2(asked, entry)) == (SMALL.kept + 1) * 5
        assert selections[entry].documented is True
        assert selections[entry].chosen != study.space(entry).recommended()


def test_a_documented_setting_among_the_best_is_not_run_twice(study, fabricate):
    always = replace(study, profile=replace(SMALL, documented=True))
    asked, _ = play(always, fabricate, lambda job: -worst_where_documented(study)(job))
    assert all(len(in_stage_2(asked, entry)) == SMALL.kept * 5 for entry in ENTRIES)


def test_workloads_searched_before_the_rule_are_gone_on_with_as_they_were(study, fabricate):
    before = replace(study, profile=replace(SMALL, documented=True, undocumented=("mnist5k",)))
    old, new = (play(some, fabricate, worst_where_documented(study)) for some in (study, before))
    assert [[job.config.key for job in jobs] for jobs in old[0]] == [
        [job.config.key for job in jobs] for jobs in new[0]
    ]
    assert old[1] == new[1]
    assert new[1]["adamw"].documented is None


def test_a_claim_over_the_rate_runs_its_entries_on_every_final_seed(study, fabricate):
    entries = ["adamw", "lion", "aees-adamw", "aees-find"]
    asked, selections = play(replace(study, entries=entries), fabricate, away_from_the_recommendation)
    in_turn = dict.fromkeys(job.config.entry for job in asked[-1] if job.role == "rate")
    assert [*in_turn] == ["aees-find", "adamw", "lion", "aees-adamw"]
    at_rates = {(job.config.entry, job.config.seed) for job in asked[-1] if job.role == "rate"}
    seeds = {entry: (SMALL.final_seeds if entry in ("adamw", "aees-find") else SMALL.rate_seeds) for entry in entries}
    assert at_rates == {(entry, seed) for entry in entries for seed in seeds[entry]}
    assert {entry: tuple(selections[entry].rate_seeds) for entry in entries} == seeds


def test_claims_run_once_more_on_fresh_seeds_at_the_rates_they_speak_of(fabricate):
    profile = replace(SMALL, fresh_seeds={"diamonds": (50, 51)})
    entries = ["adamw", "lion", "muon", "aees-adamw", "aees-find"]
    study = Study(profile, WORKLOADS["diamonds"], "gradient", entries)
    asked, selections = play(study, fabricate, middle_is_best)
    fresh = [job.config for job in asked[-1] if job.role == "fresh"]
    factors = {"adamw": (1, 0.1, 10), "lion": (1,), "aees-find": (0.1, 10)}
    rates = {(entry, at_rate(selections[entry].chosen, f)["lr"]) for entry, some in factors.items() for f in some}
    assert {(config.entry, config.params["lr"], config.seed) for config in fresh} == {
        (entry, lr, seed) for entry, lr in rates for seed in (50, 51)
    }
    assert {entry: selections[entry].fresh_seeds for entry in entries} == {
        entry: [50, 51] if entry in factors else None for entry in entries
    }
    more, without = study.expected_runs(), replace(study, profile=SMALL).expected_runs()
    assert {entry: more[entry].full - without[entry].full for entry in entries} == {
        entry: 2 * len(factors.get(entry, ())) for entry in entries
    }
    assert not any(job.role == "fresh" for jobs in asked[:-1] for job in jobs)
    elsewhere = Study(profile, WORKLOADS["mnist5k"], "gradient", entries)
    assert not any(job.role == "fresh" for job in play(elsewhere, fabricate, middle_is_best)[0][-1])


def test_a_workload_with_final_seeds_of_its_own_runs_on_those(study, fabricate):
    own = replace(study, profile=replace(SMALL, own_seeds={"mnist5k": (7, 8, 9)}))
    asked, selections = play(own, fabricate, middle_is_best)
    assert {job.config.seed for job in asked[-1] if job.role == "final"} == {7, 8, 9}
    assert selections["adamw"].final_seeds == [7, 8, 9]


def test_a_best_rate_in_the_outer_tenth_widens_that_box_alone(study, fabricate):
    asked, selections = play(study, fabricate, top_is_best_for_sgd)
    assert {job.config.entry for job in asked[1]} == {"sgd"}
    assert all(job.config.params["lr"] >= 1.0 for job in asked[1])
    assert selections["sgd"].widened
    assert not selections["adamw"].widened
    assert selections["sgd"].chosen["lr"] > 1.0


def outer_is_best_in_stage_2(study):
    def value_of(job):
        space = study.space(job.config.entry)
        outer = job.config.entry == "sgd" and space.is_outer(job.config.params)
        if job.config.budget["steps"] == study.budget.steps:
            return 1.0 if outer else 0.5
        return 0.9 if outer else float(job.config.params == space.recommended())

    return value_of


def test_a_best_rate_in_the_outer_tenth_of_stage_2_widens_the_box_too(study, fabricate):
    asked, selections = play(study, fabricate, outer_is_best_in_stage_2(study))
    assert len(asked) == 5  # stages 1 and 2, stages 1 and 2 of the decade beyond, final
    assert {job.config.entry for job in asked[2]} == {job.config.entry for job in asked[3]} == {"sgd"}
    assert len(asked[3]) == 2 * 5
    low, high = study.space("sgd").rates
    assert not any(low < job.config.params["lr"] < high for job in asked[2])
    assert {trial.stage for trial in selections["sgd"].trials} == {1, 2}
    assert [selections[entry].widened for entry in ENTRIES] == [False, True, False]


def test_where_wrong_labels_are_learnt_late_stage_1_runs_the_full_length(fabricate):
    study = Study(SMALL, WORKLOADS["mnist5k-asym"], "gradient", ENTRIES)
    asked, selections = play(study, fabricate, middle_is_best)
    keys = [job.config.key for jobs in asked[:-1] for job in jobs]
    assert {job.config.budget["steps"] for jobs in asked for job in jobs} == {study.budget.steps}
    assert len(set(keys)) == len(ENTRIES) * (8 * 2 + SMALL.kept * 3)  # two of the five seeds are those of stage 1
    assert selections["adamw"].short_budget == selections["adamw"].budget
    made = [fabricate.run().model_copy(update={"config": job.config, "key": job.config.key}) for job in asked[0]]
    found = left_to_run(study, alike(made))
    assert {load.short for load in found.values()} == {0}
    assert {entry: load.full for entry, load in found.items()} == {
        entry: load.full for entry, load in study.expected_runs().items()
    }


def test_final_seeds_are_never_tuning_seeds(study, fabricate):
    asked, _ = play(study, fabricate, middle_is_best)
    tuned = {job.config.seed for jobs in asked[:-1] for job in jobs}
    judged = {job.config.seed for job in asked[-1]}
    assert not tuned & judged
    assert {job.role for jobs in asked[:-1] for job in jobs} == {"tune"}


def test_robustness_runs_the_chosen_setting_at_other_rates(study, fabricate):
    asked, selections = play(study, fabricate, middle_is_best)
    others = [job.config for job in asked[-1] if job.role == "rate" and job.config.entry == "adamw"]
    chosen = selections["adamw"].chosen
    assert {config.params["lr"] for config in others} == {at_rate(chosen, f)["lr"] for f in (0.1, 10.0)}
    assert {config.seed for config in others} == {0, 1, 2}
    elsewhere = Study(SMALL, WORKLOADS["mnist5k-asym"], "gradient", ENTRIES)
    assert not any(job.role == "rate" for job in play(elsewhere, fabricate, middle_is_best)[0][-1])


def test_an_ablation_runs_with_the_choice_of_the_whole_method(study, fabricate):
    with_ablation = replace(study, entries=[*ENTRIES, "thermolion-cold"])
    asked, selections = play(with_ablation, fabricate, lambda job: middle_is_best(job) if job.role == "tune" else 0.5)
    assert not any(job.config.entry == "thermolion-cold" for jobs in asked[:-1] for job in jobs)
    cold = selections["thermolion-cold"]
    assert cold.chosen == {**selections["thermolion"].chosen, "temp_decay": 1e-9}
    assert cold.follows == "thermolion"
    assert {job.config.seed for job in asked[-1] if job.config.entry == "thermolion-cold"} == {0, 1, 2}


@pytest.mark.parametrize("documented", [False, True])
def test_the_runs_announced_are_those_asked_for(documented, study, fabricate):
    study = replace(study, profile=replace(SMALL, documented=documented))
    asked, _ = play(study, fabricate, worst_where_documented(study))
    short = sum(job.config.budget["steps"] < study.budget.steps for jobs in asked for job in jobs)
    full = sum(len(jobs) for jobs in asked) - short
    expected = study.expected_runs().values()
    assert short == sum(load.short for load in expected)
    assert full == sum(load.full for load in expected)


def test_seeds_used_twice_are_refused():
    with pytest.raises(ValueError, match="must be disjoint"):
        Profile("p", "", (), points=2, final_seeds=(0, 1000), untuned_seeds=())
    for more in ({"fresh_seeds": {"diamonds": (1000,)}}, {"own_seeds": {"diamonds": (1000,)}}):
        with pytest.raises(ValueError, match=r"must be disjoint, \[1000\] are in both"):
            Profile("p", "", (), points=2, final_seeds=(0,), untuned_seeds=(), **more)


def test_tuning_on_one_seed_is_refused():
    with pytest.raises(ValueError, match="at least two tuning seeds"):
        Profile("p", "", (), points=2, final_seeds=(0, 1), untuned_seeds=(), short_seeds=(1000,))


def test_the_evidence_keeps_the_protocol():
    for name in ("full", "paper"):
        profile = PROFILES[name]
        assert len(profile.final_seeds) >= 10
        assert len(profile.seeds("es", "cartpole")) >= 30
        assert len(profile.long_seeds) == 5
        assert profile.long_seeds[: len(profile.short_seeds)] == profile.short_seeds
        assert profile.ablations


def test_our_methods_are_the_same_wherever_they_are_listed():
    ours = {method.id for method in METHODS.values() if method.ours}
    assert {*OURS} == ours == {*PACKAGES.values()}
