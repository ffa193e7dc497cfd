"""Other evolution strategies to time beside ours, where they can be imported; none is copied, none is a dependency.

Release 0.2.0 of torcheggroll: ``TORCHEGGROLL_020`` names the folder that holds its package. EvoTorch: anywhere on
Python's path.
"""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bench.methods.published_020 import torcheggroll_020

OLD = "torcheggroll 0.2.0"
PGPE = "EvoTorch PGPE"
DENSE = "dense members under vmap"


def release_020(model: nn.Module, population: int, x: Tensor, loss: Any, y: Tensor) -> Callable[[], None] | None:
    """Makes one step of release 0.2.0 at rank 4, or None where it is not at hand."""
    made = torcheggroll_020()
    if made is None:
        return None
    es = made(model, population, rank=4)

    def run() -> None:
        es.step(x, loss, y)

    return run


def evotorch_pgpe(model: nn.Module, population: int, x: Tensor, loss: Any, y: Tensor) -> Callable[[], None] | None:
    """Makes one generation of EvoTorch's PGPE, whose dense members are evaluated under vmap, or None without it."""
    if importlib.util.find_spec("evotorch") is None:
        return None
    evotorch = importlib.import_module("evotorch")
    functional: Any = importlib.import_module("evotorch.neuroevolution.net.functional")
    net = functional.make_functional_module(model, disable_autograd_tracking=True)

    def one(own: Tensor) -> Any:
        return loss(net(own, x), y)

    losses: Any = torch.func.vmap(one)

    problem = evotorch.Problem(
        "min", losses, solution_length=net.parameter_length, initial_bounds=(-0.05, 0.05), vectorized=True,
        dtype=torch.float32, device=x.device, seed=0,
    )  # fmt: skip
    search = evotorch.algorithms.PGPE(
        problem, popsize=population, center_learning_rate=0.05, stdev_learning_rate=0.1, stdev_init=0.02
    )

    def run() -> None:
        with torch.no_grad():
            search.step()

    return run


def dense_vmap(model: nn.Module, population: int, x: Tensor, loss: Any, y: Tensor) -> Callable[[], None]:
    """Makes one evaluation of dense Gaussian members, drawn for 16 at a time, by ``torch.func.vmap``; no update."""
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def one(own: dict[str, Tensor]) -> Any:
        return loss(torch.func.functional_call(model, own, (x,)), y)

    evaluate: Any = torch.func.vmap(one)

    def run() -> None:
        with torch.no_grad():
            for _ in range(0, population, 16):
                evaluate({k: w + 0.02 * torch.randn(16, *w.shape, device=w.device) for k, w in weights.items()})

    return run
