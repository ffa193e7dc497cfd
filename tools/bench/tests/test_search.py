import math

import pytest
from bench.methods.method import Box
from bench.methods.table import METHODS
from bench.protocol.search import Space, ranked, score, sequence, space_of
from bench.records.models import Trial

BOX = Box((1e-4, 1e-1), {"lr": 1e-3, "wd": 0.0, "schedule": "cosine"}, {"wd": (0.0, 0.1)}, fixed={"eps": 1e-8})


def test_every_box_is_wide_enough_and_holds_its_recommendation():
    for method in METHODS.values():
        for box in filter(None, (method.box, method.reward_box)):
            assert math.log10(box.lr[1] / box.lr[0]) >= 2.5
            assert len(box.knobs) <= box.most_knobs
            assert {*box.recommended} == {"lr", "schedule", *box.knobs} or not box.knobs or method.id == "adamw"
            assert box.recommended["schedule"] in box.schedules


def test_a_box_that_would_not_be_fair_is_refused():
    with pytest.raises(ValueError, match=r"at least 2\.5 decades"):
        Box((1e-3, 1e-1), {"lr": 1e-2})
    with pytest.raises(ValueError, match="must lie in the box"):
        Box((1e-4, 1e-1), {"lr": 1.0})


def test_point_0_is_the_recommendation_and_the_others_fill_the_box():
    points = Space(BOX).points(64)
    assert points[0] == {"eps": 1e-8, "lr": 1e-3, "wd": 0.0, "schedule": "cosine"}
    assert len({point["lr"] for point in points}) > 60
    assert {point["schedule"] for point in points} == {"constant", "cosine", "linear"}
    assert {point["wd"] for point in points} == {0.0, 0.1}
    assert all(1e-4 <= point["lr"] <= 1e-1 for point in points)
    eighths = [sum(i <= 8 * Space(BOX).position(point) < i + 1 for point in points[1:]) for i in range(8)]
    assert min(eighths) >= 7  # a Sobol sequence leaves no gap


def test_everyone_is_searched_with_the_same_sequence():
    methods = [method for method in METHODS.values() if not method.ablates]
    places = {
        tuple(round(Space(method.box).position(point), 2) for point in Space(method.box).points(9)[1:])
        for method in methods
    }
    spread = [max(column) - min(column) for column in zip(*places, strict=True)]
    assert max(spread) < 0.03  # equal but for the rounding of the rates to three digits
    assert sequence(8, 4) == sequence(16, 4)[:8]


def test_a_workload_scales_everyones_rates_alike():
    plain, scaled = Space(BOX).points(8), Space(BOX, 0.1).points(8)
    assert [point["lr"] for point in scaled] == pytest.approx([point["lr"] / 10 for point in plain], rel=0.01)


@pytest.mark.parametrize(("lr", "outer"), [(1.1e-4, True), (3e-4, False), (1e-2, False), (8e-2, True)])
def test_the_outer_tenth_of_the_rates_is_found(lr, outer):
    assert Space(BOX).is_outer({"lr": lr}) == outer


def test_a_widened_box_goes_a_decade_further_on_the_side_of_the_best():
    space = Space(BOX)
    assert all(0.1 <= point["lr"] <= 1.0 for point in space.beyond({"lr": 0.09}, 4, 12))
    assert all(1e-5 <= point["lr"] <= 1e-4 for point in space.beyond({"lr": 1.1e-4}, 4, 12))
    assert space.is_edge({"lr": 0.9}, widened=True)
    assert not space.is_edge({"lr": 0.2}, widened=True)
    assert space.is_edge({"lr": 0.09}, widened=False)


def test_a_collapse_on_one_tuning_seed_is_not_chosen():
    good, bad = Trial(params={"lr": 1.0}, values=[0.7, 0.7]), Trial(params={"lr": 2.0}, values=[0.99, None])
    assert ranked([bad, good], "higher")[0] is good
    assert score(bad, "higher") == -math.inf


def test_lower_can_be_better_and_the_last_stage_decides():
    one, other = Trial(params={"lr": 1.0}, values=[3.0, 3.0]), Trial(params={"lr": 2.0}, values=[2.0, 2.0])
    assert ranked([one, other], "lower")[0] is other
    late = Trial(params={"lr": 1.0}, values=[2.5, 2.5], stage=2)
    assert ranked([other.model_copy(update={"stage": 1}), late], "lower")[0] is late


def test_a_reward_driven_task_searches_the_reward_rules():
    adaptive = METHODS["adaptive-adamw"]
    assert {str(point["rule"]).split()[0] for point in space_of(adaptive, True, 1.0).points(16)} == {"reward"}
    assert not any(str(point["rule"]).startswith("reward") for point in space_of(adaptive, False, 1.0).points(16))
