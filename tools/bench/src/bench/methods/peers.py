"""Evolution strategies of other packages, where they are installed: PGPE and sep-CMA-ES."""

import importlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from bench.methods.driver import EvolutionDriver
from bench.methods.evolution import POPULATION, SIGMAS
from bench.methods.method import CONSTANT, Box, Method, Params, Setting
from bench.workloads.base import PopulationTask


class PGPEDriver(EvolutionDriver):
    """EvoTorch's PGPE in its functional form: Gaussian search with a deviation per weight, ClipUp, centred ranks."""

    population = POPULATION

    def __init__(self, model: nn.Module, lr: float, sigma: float) -> None:
        self._module: Any = importlib.import_module("evotorch.algorithms.functional")
        self._model = model
        self._state = self._module.pgpe(
            center_init=parameters_to_vector(model.parameters()).detach(),
            center_learning_rate=lr,
            stdev_learning_rate=0.1,
            stdev_init=sigma,
            objective_sense="max",
            ranking_method="centered",
        )

    def generation(self, task: PopulationTask, number: int) -> float:
        """One generation; EvoTorch draws from the global stream, which the run owns."""
        with torch.no_grad():
            flat = self._module.pgpe_ask(self._state, popsize=self.population)
            scores = task.fitness(members_of(self._model, flat), number)
            self._state = self._module.pgpe_tell(self._state, flat, scores)
            vector_to_parameters(self._centre(), self._model.parameters())
        return scores.mean().item()

    def _centre(self) -> Tensor:
        centre: Tensor = self._state.optimizer_state.center
        return centre

    def state_bytes(self) -> int:
        """The optimizer's velocity and centre, and a deviation per weight."""
        held = [*self._state.optimizer_state, *self._state]
        return sum(v.numel() * v.element_size() for v in held if isinstance(v, Tensor))


def pgpe(model: nn.Module, params: Params, setting: Setting) -> EvolutionDriver:
    """EvoTorch's PGPE."""
    return PGPEDriver(model, float(params["lr"]), float(params["sigma"]))


class SepCMADriver(EvolutionDriver):
    """Pycma's CMA-ES with a diagonal covariance."""

    population = POPULATION

    def __init__(self, model: nn.Module, sigma: float, seed: int) -> None:
        self._model = model
        cma: Any = importlib.import_module("cma")
        centre = parameters_to_vector(model.parameters()).detach().double().numpy()
        options = {"CMA_diagonal": True, "popsize": self.population, "seed": seed + 1, "verbose": -9}
        self._strategy: Any = cma.CMAEvolutionStrategy(centre, sigma, options)

    def generation(self, task: PopulationTask, number: int) -> float:
        """One generation; pycma minimises."""
        points = self._strategy.ask()
        flat = torch.stack([torch.as_tensor(point, dtype=torch.float32) for point in points])
        with torch.no_grad():
            scores = task.fitness(members_of(self._model, flat), number)
            self._strategy.tell(points, [-number for number in map(float, scores)])
            centre = torch.as_tensor(self._strategy.mean, dtype=torch.float32)
            vector_to_parameters(centre, self._model.parameters())
        return scores.mean().item()

    def state_bytes(self) -> int:
        """Centre, path and variance: three numbers of eight bytes a weight."""
        return 3 * 8 * sum(p.numel() for p in self._model.parameters())


def sep_cma(model: nn.Module, params: Params, setting: Setting) -> EvolutionDriver:
    """Sep-CMA-ES of pycma; its rate is the deviation it begins with."""
    return SepCMADriver(model, float(params["lr"]), setting.seed)


def members_of(model: nn.Module, flat: Tensor) -> dict[str, Tensor]:
    """Returns the rows of ``flat`` as stacked parameters of the model's shapes."""
    members, at = dict[str, Tensor](), 0
    for name, p in model.named_parameters():
        members[name] = flat[:, at : at + p.numel()].reshape(-1, *p.shape)
        at += p.numel()
    return members


PEERS = [
    Method(
        "pgpe",
        "PGPE",
        "evotorch",
        "es",
        pgpe,
        Box((0.003, 3.0), {"lr": 0.1, "sigma": 0.1, "schedule": CONSTANT}, SIGMAS, (CONSTANT,)),
        needs="evotorch",
    ),
    Method(
        "sep-cma",
        "sep-CMA-ES",
        "cma",
        "es",
        sep_cma,
        Box((1e-3, 1.0), {"lr": 0.05, "schedule": CONSTANT}, {}, (CONSTANT,)),
        needs="cma",
    ),
]
