import pytest
from bench.records.models import Config, Cost, Curve, Machine, Run, Selection, Trial

BUDGET = {"steps": 10, "batch": 4, "evals": 2}
MACHINE = Machine(
    cpu="a cpu",
    cores=2,
    threads=1,
    load=0.5,
    workers=2,
    versions={"torch": "2"},
    revision="abc",
    time="2026-11-21T00:00:00Z",
)


def make_run(
    entry="adamw",
    seed=0,
    value=0.8,
    test=0.8,
    role="final",
    params=None,
    workload="mnist5k-noise",
    family="gradient",
    **more,
):
    config = Config(
        workload=workload,
        family=family,
        budget=BUDGET,
        entry=entry,
        params=params or {"lr": 0.001},
        seed=seed,
        data={"mnist5k": "x"},
        protocol=more.pop("protocol", 2),
    )
    values = [value - 0.1, value] if value is not None else []
    fields = {
        "key": config.key,
        "role": role,
        "profile": "quick",
        "config": config,
        "status": "diverged" if value is None else "finished",
        "curve": Curve(
            step=[5, 10][: len(values)],
            samples=[20, 40][: len(values)],
            cpu=[0.1, 0.2][: len(values)],
            loss=[1.0, 0.5][: len(values)],
            value=values,
        ),
        "value": value,
        "test": None if role == "tune" or value is None else test,
        "cost": Cost(steps=10, samples=40, train_cpu=0.2, total_cpu=0.3, wall=0.4, state_bytes=800),
        "machine": MACHINE,
        **more,
    }
    return Run(**fields).seal()


def make_selection(entry="adamw", trials=None, **more):
    fields = {
        "profile": "quick",
        "workload": "mnist5k-noise",
        "family": "gradient",
        "entry": entry,
        "budget": BUDGET,
        "better": "higher",
        "metric": "accuracy",
        "trials": trials
        or [
            Trial(params={"lr": 0.0003}, values=[0.7, 0.7]),
            Trial(params={"lr": 0.001}, values=[0.8, 0.8]),
            Trial(params={"lr": 0.003}, values=[0.75, 0.75]),
        ],
        "tuning_seeds": [1000, 1001],
        "final_seeds": [0, 1, 2, 3, 4],
        "untuned_seeds": [0, 1],
        "chosen": {"lr": 0.001},
        "untuned": {"lr": 0.0001},
        "widened": False,
        "edge": False,
        "protocol": 2,
        "margin": 0.002,
        **more,
    }
    return Selection(**fields).seal()


def make_study(entry="adamw", tests=(0.80, 0.81, 0.79, 0.80, 0.82), selection=None, **more):
    """A selection with all the runs it rests on, and its final and untuned runs."""
    selection = selection or make_selection(entry)
    records = [selection]
    for trial in selection.trials:
        for seed, value in zip(selection.tuning_seeds, trial.values, strict=True):
            records.append(make_run(entry, seed, value, role="tune", params=trial.params))
    for seed, test in zip(selection.final_seeds, tests, strict=True):
        records.append(make_run(entry, seed, value=0.8, test=test, params=selection.chosen, **more))
    for seed in selection.untuned_seeds:
        records.append(make_run(entry, seed, value=0.6, test=0.61, role="untuned", params=selection.untuned))
    return records


@pytest.fixture
def fabricate():
    """Factories of records that the bench could have written."""

    class Fabricate:
        run = staticmethod(make_run)
        selection = staticmethod(make_selection)
        study = staticmethod(make_study)
        machine = MACHINE

    return Fabricate
