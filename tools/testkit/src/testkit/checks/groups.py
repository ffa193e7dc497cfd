"""Parameter groups: what a group overrides is used, and a group can be added in the middle of a run."""

from typing import Any

from testkit.case import Case
from testkit.checks._check import check, expect
from testkit.problems import MovingQuadratic, initial
from testkit.sameness import difference
from testkit.trajectories import Trajectory, parting, run
from testkit.trial import OptimizerTrial

STEPS = 13
SHAPES = ((3,), (2, 3), (4,), (2, 2))


def _two_groups(case: Case, **override: Any) -> OptimizerTrial:
    """Starts two parameters in each of two groups; the second overrides what is given."""
    problem = MovingQuadratic([initial(shape, index) for index, shape in enumerate(SHAPES)])
    groups: list[dict[str, Any]] = [{"params": problem.parameters[:2]}, {"params": problem.parameters[2:], **override}]
    return OptimizerTrial(problem, case.make(groups), case.contract)


def _tried(group: dict[str, Any], contracted: dict[str, Any]) -> dict[str, Any]:
    """Returns a value for each setting that can be told from the one in force."""
    tried: dict[str, Any] = {}
    if "lr" in group:
        tried["lr"] = 0.5 * float(group["lr"])
    if "betas" in group:
        tried["betas"] = tuple(0.5 * float(beta) for beta in group["betas"])
    for name in ("momentum", "weight_decay", "eps"):
        if name in group:
            tried[name] = 0.5 * float(group[name]) + 0.2
    return {**tried, **contracted}


def _halves(trajectory: Trajectory) -> tuple[Trajectory, Trajectory]:
    return [entry[:2] for entry in trajectory], [entry[2:] for entry in trajectory]


@check
def group_overrides_are_used(case: Case) -> None:
    """A setting overridden by a group applies to that group alone, and can be edited like ``torch.optim``'s."""
    if case.contract.one_group:
        return
    plain = _two_groups(case)
    expect(len(plain.optimizer.param_groups) == 2, "two groups", f"{len(plain.optimizer.param_groups)}")
    tried = _tried(plain.optimizer.param_groups[1], dict(case.contract.overrides))
    base = _halves(run(plain, range(STEPS)))
    for name, value in tried.items():
        trial = _two_groups(case, **{name: value})
        kept = trial.optimizer.param_groups[1].get(name)
        expect(not difference(kept, value), f"the second group to hold {name}={value}", f"it holds {kept}")
        overridden = _halves(run(trial, range(STEPS)))
        expect(
            bool(parting(overridden[1], base[1])),
            f"{name}={value} to change the run of the group that overrides it",
            "that group ran as if it had not",
        )
        where = "" if case.contract.feed is not None else parting(overridden[0], base[0])
        expect(not where, f"{name}={value} in the second group to leave the first alone", where)
        edited = _two_groups(case)
        edited.optimizer.param_groups[1][name] = value
        where = parting(run(edited, range(STEPS)), [a + b for a, b in zip(*overridden, strict=True)])
        expect(not where, f"param_groups[1][{name!r}] = {value} to do what the override does", where)


@check
def a_group_can_be_added_mid_run(case: Case) -> None:
    """``add_param_group`` after some steps trains the new parameters with their own settings; the others continue."""
    if case.contract.one_group:
        return
    problem = MovingQuadratic([initial(shape, index) for index, shape in enumerate(SHAPES[:2])])
    trial, alone = case.start(problem), case.start(MovingQuadratic(_fresh(2)))
    run(trial, range(3))
    run(alone, range(3))
    newcomers = _fresh(4)[2:]
    lr = 0.5 * float(trial.optimizer.param_groups[0].get("lr", 1.0))
    override = {"lr": lr} if "lr" in trial.optimizer.param_groups[0] else {}
    trial.optimizer.add_param_group({"params": newcomers, **override})
    problem.parameters.extend(newcomers)
    group = trial.optimizer.param_groups[-1]
    missing = trial.optimizer.param_groups[0].keys() - group.keys()
    expect(not missing, "the new group to hold every setting", f"it lacks {sorted(missing)}")
    expect(group.get("lr", lr) == lr, f"the new group to keep lr={lr}", f"it holds {group.get('lr')}")
    before = _fresh(4)[2:]
    _go_on(trial, alone, case)
    for index, (came, start) in enumerate(zip(newcomers, before, strict=True)):
        moved = bool(difference(came, start)) and bool(came.isfinite().all())
        expect(moved, "the newcomers to be trained", f"number {index} is at {came.detach().reshape(-1)[:3].tolist()}")


def _fresh(count: int) -> list[Any]:
    return [initial(shape, index) for index, shape in enumerate(SHAPES[:count])]


def _go_on(trial: OptimizerTrial, alone: OptimizerTrial, case: Case) -> None:
    """Continues with and without the new parameters, and compares the old ones unless the contract couples them."""
    for t in range(3, 9):
        trial.step(t)
        alone.step(t)
        if case.contract.feed is None and not case.contract.draws_from_global_stream:
            where = difference(trial.parameters[:2], alone.parameters, "parameter")
            expect(not where, "the old group to run on as if nobody had come", where)
