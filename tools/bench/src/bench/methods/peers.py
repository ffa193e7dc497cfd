"""Evolution strategies of other packages, which take part where they are installed: PGPE, torcheggroll 0.2.0."""

import importlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from bench.methods.driver import EvolutionDriver, Fitness
from bench.methods.evolution import POPULATION, EggrollDriver
from bench.methods.method import Method, Params, Setting
from bench.methods.published_020 import torcheggroll_020


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

    def generation(self, fitness: Fitness, number: int) -> float:
        """One generation; EvoTorch draws from the global stream, which the run owns."""
        with torch.no_grad():
            flat = self._module.pgpe_ask(self._state, popsize=self.population)
            scores = fitness(self._members(flat), number)
            self._state = self._module.pgpe_tell(self._state, flat, scores)
            vector_to_parameters(self._centre(), self._model.parameters())
        return scores.mean().item()

    def _members(self, flat: Tensor) -> dict[str, Tensor]:
        members, at = dict[str, Tensor](), 0
        for name, p in self._model.named_parameters():
            members[name] = flat[:, at : at + p.numel()].reshape(-1, *p.shape)
            at += p.numel()
        return members

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


def eggroll_020(model: nn.Module, params: Params, setting: Setting) -> EvolutionDriver:
    """The release before ours, with the settings of ours that it has; it takes no seed."""
    release = torcheggroll_020()
    es = release(model, pop_size=POPULATION, sigma=float(params["sigma"]), lr=float(params["lr"]), rank=4)
    return EggrollDriver(es)


PEERS = [
    Method(
        "pgpe",
        "PGPE",
        "evotorch",
        "es",
        pgpe,
        (0.03, 0.1, 0.3, 1.0),
        ("sigma", 0.1, 0.05),
        {"lr": 0.1, "sigma": 0.1},
        cosine=False,
        needs="evotorch",
    ),
    Method(
        "torcheggroll-0.2.0",
        "TorchEggrollES 0.2.0",
        "torcheggroll 0.2.0",
        "es",
        eggroll_020,
        (0.03, 0.1, 0.3, 1.0),
        ("sigma", 0.1, 0.05),
        {"lr": 0.05, "sigma": 0.02},
        cosine=False,
        needs="TORCHEGGROLL_020",
    ),
]
