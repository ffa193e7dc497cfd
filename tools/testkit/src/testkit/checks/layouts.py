"""Layouts: dtype, device, strides and storage survive, and scalar and empty shapes work."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from testkit.case import Case
from testkit.checks._check import check, expect
from testkit.problems import MovingQuadratic, initial
from testkit.trajectories import run

STEPS = 7


def _laid_out(dtype: torch.dtype) -> list[Tensor]:
    """Returns a transposed, a channels-last, a strided and an offset parameter."""
    image = initial((2, 3, 4, 5), 1, dtype=dtype).detach().contiguous(memory_format=torch.channels_last)
    buffer = initial((4, 6), 2, dtype=dtype).detach().clone()
    return [
        Parameter(initial((3, 4), 0, dtype=dtype).detach().clone().t()),
        Parameter(image),
        Parameter(buffer[:, ::2]),
        Parameter(initial((7,), 3, dtype=dtype).detach().clone()[2:]),
    ]


def _layout(tensor: Tensor) -> tuple[object, ...]:
    return tensor.dtype, tensor.device, tuple(tensor.shape), tensor.stride(), tensor.data_ptr()


@check
def dtype_device_and_strides_survive(case: Case) -> None:
    """Parameters of any dtype and layout keep both, and their storage, and go where contiguous ones go."""
    for dtype in case.contract.dtypes:
        parameters = _laid_out(dtype)
        contiguous = [Parameter(p.detach().clone(memory_format=torch.contiguous_format)) for p in parameters]
        before = [_layout(parameter) for parameter in parameters]
        trial = case.start(MovingQuadratic(parameters))
        run(trial, range(STEPS))
        run(case.start(MovingQuadratic(contiguous)), range(STEPS))
        for index, (parameter, described) in enumerate(zip(parameters, before, strict=True)):
            now = _layout(parameter)
            expect(now == described, f"parameter {index} to keep its layout, {described}", f"it has {now}")
            finite = bool(parameter.isfinite().all())
            expect(finite, f"finite {dtype} parameters", f"parameter {index} is {parameter.detach().reshape(-1)[:4]}")
        _state_lives_with_the_parameters(trial.optimizer.state, dtype)
        if not case.contract.noise_follows_layout:
            _close(parameters, contiguous)


def _state_lives_with_the_parameters(state: Mapping[Tensor, Mapping[str, Any]], dtype: torch.dtype) -> None:
    for parameter, entries in state.items():
        for name, value in entries.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and parameter.numel() > 1:
                here = value.device == parameter.device
                expect(here, f"state {name!r} of a {dtype} parameter on {parameter.device}", f"it is on {value.device}")


def _close(came: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for index, (a, b) in enumerate(zip(came, expected, strict=True)):
        near = torch.allclose(a, b, rtol=8 * torch.finfo(a.dtype).eps, atol=8 * torch.finfo(a.dtype).eps)
        gap = float((a.detach().double() - b.detach().double()).abs().max())
        expect(near, f"parameter {index} ({a.dtype}) where its contiguous copy is", f"they are {gap:.3g} apart")


@check
def scalars_and_empty_parameters_are_fine(case: Case) -> None:
    """Parameters of shape ``()``, ``(0,)`` and ``(3, 0)`` are trained like any other, and reload."""
    shapes: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (3, 0), (2, 2))
    problem = MovingQuadratic([initial(shape, index) for index, shape in enumerate(shapes)])
    trial = case.start(problem)
    run(trial, range(STEPS))
    trial.load_state_dict(trial.state_dict())
    run(trial, range(STEPS, 2 * STEPS))
    for index, (parameter, shape) in enumerate(zip(problem.parameters, shapes, strict=True)):
        came = tuple(parameter.shape)
        expect(came == shape, f"parameter {index} to keep the shape {shape}", f"it has {came}")
        expect(bool(parameter.isfinite().all()), "finite parameters", f"that of shape {shape} is {parameter.detach()}")
        moved = parameter.numel() == 0 or not torch.equal(parameter, initial(shape, index))
        expect(moved, f"the parameter of shape {shape} to be trained", "it did not move")
