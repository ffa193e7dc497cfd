from bench.commands.fix_costs import costs_of
from bench.records.models import Cost


def cost(seconds):
    return Cost(steps=10, samples=40, train_cpu=seconds, total_cpu=seconds, wall=seconds, state_bytes=8)


def test_costs_are_medians_in_the_unit_of_the_known_ones(fabricate):
    runs = [fabricate.run(seed=seed, cost=cost(seconds)) for seed, seconds in enumerate((1.0, 4.0, 30.0))]
    assert costs_of(runs, speed=2.0) == {"quick/mnist5k-noise/gradient": {"adamw": 2.0}}
