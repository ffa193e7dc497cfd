"""Problems are functions of the parameters and the step: nothing random, and gradients that can be checked."""

import pytest
import torch
from testkit.problems import LeastSquares, initial, quadratic, rosenbrock

PROBLEMS = [quadratic, rosenbrock, LeastSquares]
IDS = ["quadratic", "rosenbrock", "least squares"]


@pytest.mark.parametrize("make", PROBLEMS, ids=IDS)
def test_the_gradient_is_that_of_the_loss(make):
    problem = make(dtype=torch.float64)
    problem.backward(3)
    for parameter in problem.parameters:
        grad = parameter.grad.reshape(-1)
        for index in range(parameter.numel()):
            with torch.no_grad():
                entry = parameter.view(-1)[index : index + 1]
                there, here = (float(problem.loss(3)) for _ in map(entry.add_, (1e-6, -2e-6)))
                entry.add_(1e-6)
            assert float(grad[index]) == pytest.approx((there - here) / 2e-6, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("make", PROBLEMS, ids=IDS)
def test_no_global_stream_is_read(make):
    torch.manual_seed(1)
    first = make().backward(2)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(make().backward(2), first)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_parameters_and_gradients_have_the_dtype(dtype):
    for problem in (quadratic(dtype=dtype), rosenbrock(dtype=dtype), LeastSquares(dtype=dtype)):
        problem.backward(0)
        assert {p.dtype for p in problem.parameters} | {p.grad.dtype for p in problem.parameters} == {dtype}


def test_the_quadratic_moves_with_the_step_and_never_repeats_a_gradient():
    problem = quadratic(((50,), (3, 4)))
    gradients = []
    for t in range(20):
        problem.backward(t)
        gradients += [parameter.grad.clone() for parameter in problem.parameters]
    values = torch.cat([gradient.reshape(-1) for gradient in gradients])
    assert len(values.unique()) == len(values)
    assert values.abs().min() > 0


def test_a_complex_quadratic_is_the_real_one_of_its_view():
    problem = quadratic(((3,),), dtype=torch.complex128)
    view = quadratic(((3,),), dtype=torch.float64)
    view.parameters = [torch.nn.Parameter(torch.view_as_real(problem.parameters[0].detach()).clone())]
    assert torch.equal(problem.backward(4), view.backward(4))
    assert torch.equal(torch.view_as_real(problem.parameters[0].grad), view.parameters[0].grad)


def test_rosenbrock_is_lowest_at_one_one():
    problem = rosenbrock()
    problem.parameters[0].data.fill_(1.0)
    assert float(problem.backward(0)) == 0.0
    assert not problem.parameters[0].grad.any()


def test_initial_parameters_differ_by_their_index():
    assert not torch.equal(initial((4,), 0), initial((4,), 1))
    assert torch.equal(initial((4,), 1), initial((4,), 1))
