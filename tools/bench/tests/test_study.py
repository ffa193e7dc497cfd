import math

import pytest
from bench.methods.table import METHODS
from bench.protocol.profiles import OURS, PROFILES, Profile
from bench.protocol.study import Study, on_edge, one_more, ranked, score
from bench.records.models import Trial
from bench.report.pages import PACKAGES
from bench.workloads.table import WORKLOADS

SMALL = Profile("smoke", "", (), trials=4, final_seeds=(0, 1, 2), untuned_seeds=(0,))
ENTRIES = ["adamw", "sgd", "thermolion"]


def play(study, fabricate, value_of):
    """Run a study with made-up values; return each request and the selections."""
    steps, asked, selections, got = study.go(), [], [], None
    while True:
        try:
            need = steps.send(got) if got is not None else next(steps)
        except StopIteration:
            return asked, selections
        asked.append(need.jobs)
        selections += need.selections
        got = {
            job.config.key: fabricate.run(job.config.entry, job.config.seed, value=value_of(job), role=job.role)
            for job in need.jobs
        }


@pytest.fixture
def study():
    return Study(SMALL, WORKLOADS["mnist5k"], "gradient", ENTRIES)


def middle_is_best(job):
    return 1 - abs(math.log(job.config.params["lr"] / METHODS[job.config.entry].grid[1]))


def top_is_best(job):
    return job.config.params["lr"] if job.config.entry == "sgd" else middle_is_best(job)


def test_everyone_has_the_same_trials_and_seeds(study, fabricate):
    asked, selections = play(study, fabricate, middle_is_best)
    for entry in ENTRIES:
        mine = [job for job in asked[0] if job.config.entry == entry]
        assert len(mine) == 8
        assert {job.config.seed for job in mine} == {1000, 1001}
    assert len(asked) == 2  # nobody on an edge, nobody widened
    assert not any(selection.widened or selection.edge for selection in selections)


def test_one_best_on_the_edge_gives_everyone_one_more_trial(study, fabricate):
    asked, selections = play(study, fabricate, top_is_best)
    assert [len(jobs) for jobs in asked[:2]] == [24, 6]
    assert {len(selection.trials) for selection in selections} == {5}
    sgd = next(selection for selection in selections if selection.entry == "sgd")
    assert sgd.chosen["lr"] == pytest.approx(0.3**2 / 0.1, rel=0.01)
    assert sgd.edge
    assert not any(selection.edge for selection in selections if selection.entry != "sgd")


def test_final_seeds_are_never_tuning_seeds(study, fabricate):
    asked, _ = play(study, fabricate, middle_is_best)
    tuned = {job.config.seed for job in asked[0]}
    judged = {job.config.seed for job in asked[-1]}
    assert not tuned & judged
    assert {job.role for job in asked[0]} == {"tune"}


def test_seeds_used_twice_are_refused():
    with pytest.raises(ValueError, match="must be disjoint"):
        Profile("p", "", (), trials=2, final_seeds=(0, 1000), untuned_seeds=())


def test_tuning_on_one_seed_is_refused():
    with pytest.raises(ValueError, match="at least two tuning seeds"):
        Profile("p", "", (), trials=2, final_seeds=(0, 1), untuned_seeds=(), tuning_seeds=(1000,))


def test_quick_and_full_keep_the_protocol():
    assert len(PROFILES["quick"].final_seeds) >= 5
    assert len(PROFILES["full"].final_seeds) >= 10
    assert all(len(method.trials(8)) == 8 for method in METHODS.values())


def test_a_workload_scales_everyones_grid_alike(fabricate):
    entries = ["adamw", "thermolion", "rangerlite"]
    asked, _ = play(Study(SMALL, WORKLOADS["minilm"], "gradient", entries), fabricate, lambda job: 0.5)
    for entry in entries:
        tried = sorted({job.config.params["lr"] for job in asked[0] if job.config.entry == entry})
        assert tried == pytest.approx([lr / 10 for lr in METHODS[entry].grid])


def test_a_collapse_on_one_tuning_seed_is_not_chosen():
    good, bad = Trial(params={"lr": 1.0}, values=[0.7, 0.7]), Trial(params={"lr": 2.0}, values=[0.99, None])
    assert ranked([bad, good], "higher")[0] is good
    assert score(bad, "higher") == -math.inf


def test_lower_can_be_better():
    one, other = Trial(params={"lr": 1.0}, values=[3.0, 3.0]), Trial(params={"lr": 2.0}, values=[2.0, 2.0])
    assert ranked([one, other], "lower")[0] is other


@pytest.mark.parametrize(("best", "expected"), [(0.1, 0.01), (1.0, None), (10.0, 100.0)])
def test_the_additional_trial_goes_beyond_an_edge_or_between(best, expected):
    trials = [Trial(params={"lr": lr}, values=[-abs(math.log(lr / best))] * 2) for lr in (0.1, 1.0, 10.0)]
    order = ranked(trials, "higher")
    assert on_edge(order) == (expected is not None)
    assert one_more(order)["lr"] == pytest.approx(expected if expected else math.sqrt(0.1), rel=0.01)


def test_our_methods_are_the_same_wherever_they_are_listed():
    assert {*OURS} == {method.id for method in METHODS.values() if method.ours} == {*PACKAGES.values()}
