"""Kinds of numbers and gradients: complex and sparse are supported as documented, or refused by name."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import Parameter

from testkit.case import Case
from testkit.checks._check import check, expect
from testkit.problems import MovingQuadratic, initial
from testkit.sameness import difference
from testkit.trajectories import copies, parting, run
from testkit.trial import OptimizerTrial

STEPS = 7
SHAPES = ((3,), (), (2, 4))


def refusal(attempt: Callable[[], object], name: str) -> str:
    """Runs an attempt; returns the message that refuses it, which must contain ``name``; ``""`` if it goes through."""
    try:
        attempt()
    except (ValueError, TypeError, RuntimeError) as error:
        expect(name in str(error).lower(), f"a refusal that says {name!r}", f"{type(error).__name__} says: {error}")
        return f"{type(error).__name__}: {error}"
    return ""


@check
def sparse_gradients_are_refused_by_name(case: Case) -> None:
    """A sparse gradient is refused by an error that says "sparse", before anything moves; or works like a dense one."""
    if case.contract.closure == "needed" and case.contract.sparse == "refused":
        return
    if case.contract.sparse == "supported":
        with torch.sparse.check_sparse_tensor_invariants(enable=True):  # type: ignore[no-untyped-call]
            _sparse_like_dense(case)
        return
    trial = case.start(MovingQuadratic([initial((4, 2), 0), initial((3,), 1)]))
    trial.step(0)
    loss = trial.problem.backward(1)
    trial.parameters[-1].grad = _sparse(trial.parameters[-1].grad)
    before = copies(trial.parameters)
    refused = refusal(lambda: trial.apply(loss), "sparse")
    expect(bool(refused), "a sparse gradient to be refused", "it was taken")
    where = difference(trial.parameters, before, "parameter")
    expect(not where, "the refusal to come before anything moves", where)


def _sparse(grad: Tensor | None) -> Tensor:
    assert grad is not None
    return grad.to_sparse(1)


def _sparse_like_dense(case: Case) -> None:
    expected = run(case.start(MovingQuadratic([initial((4, 2))])), range(STEPS))
    trial = case.start(MovingQuadratic([initial((4, 2))]))
    for t in range(STEPS):
        loss = trial.problem.backward(t)
        trial.parameters[0].grad = _sparse(trial.parameters[0].grad)
        trial.apply(loss)
        near = torch.allclose(trial.parameters[0], expected[t][0], rtol=1e-5, atol=1e-6)
        expect(near, "sparse gradients to train like dense ones", f"the two differ at step {t}")


def _complex_trial(case: Case) -> OptimizerTrial:
    return case.start(MovingQuadratic([initial(s, i, dtype=torch.complex128) for i, s in enumerate(SHAPES)]))


@check
def complex_equals_its_real_view(case: Case) -> None:
    """A complex parameter is trained like the real one that views it, or is refused by an error that says "complex"."""
    if case.contract.complex != "supported":
        refused = refusal(lambda: _complex_trial(case).step(0), "complex")
        if refused:
            return
        expect(case.contract.complex == "either", "complex parameters to be refused", "they were taken")
    trajectory = run(_complex_trial(case), range(STEPS))
    parameters = [initial(shape, index, dtype=torch.complex128) for index, shape in enumerate(SHAPES)]
    views = [Parameter(torch.view_as_real(parameter.detach()).clone()) for parameter in parameters]
    viewed = run(case.start(MovingQuadratic(views)), range(STEPS))
    came = [[torch.view_as_real(parameter) for parameter in entry] for entry in trajectory]
    near = all(
        torch.allclose(a, b, rtol=1e-12, atol=1e-12)
        for here, there in zip(came, viewed, strict=True)
        for a, b in zip(here, there, strict=True)
    )
    expect(near, "complex parameters to run like their real views", parting(came, viewed))
