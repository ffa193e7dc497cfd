import pytest
from bench.commands.fix_targets import costs_of, target_of
from bench.records.models import Cost, Curve
from bench.report.analysis import analyse


def cost(seconds):
    return Cost(steps=10, samples=40, train_cpu=seconds, total_cpu=seconds, wall=seconds, state_bytes=8)


def test_costs_are_medians_in_the_unit_of_the_known_ones(fabricate):
    runs = [fabricate.run(seed=seed, cost=cost(seconds)) for seed, seconds in enumerate((1.0, 4.0, 30.0))]
    assert costs_of(runs, speed=2.0) == {"quick/mnist5k-noise/gradient": {"adamw": 2.0}}


def test_a_target_is_what_the_reference_had_after_seventy_percent(fabricate):
    def curve(value):
        steps = list(range(1, 11))
        return Curve(step=steps, samples=steps, cpu=[0.1] * 10, loss=[1.0] * 10, value=[value * i for i in steps])

    (selection, *_) = fabricate.study("adamw")
    finals = [
        fabricate.run(seed=seed, params=selection.chosen, curve=curve(value))
        for seed, value in zip(selection.final_seeds, (0.01, 0.011, 0.012, 0.02, 0.1), strict=True)
    ]
    (result,) = analyse([selection, *finals])
    assert target_of(result) == {"quick/mnist5k-noise/gradient": pytest.approx(0.084)}
    (other,) = analyse([record.model_copy(update={"profile": "smoke"}) for record in (selection, *finals)])
    assert target_of(other) == {}
