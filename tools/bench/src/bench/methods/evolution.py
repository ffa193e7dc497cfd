"""Evolution strategies: TorchEggrollES, and OpenAI-ES with dense noise, which no package offers separately.

    θ ← θ + Adam(ĝ),  ĝ = (1 / (N σ)) Σᵢ Fᵢ εᵢ,  εᵢ ~ N(0, I) in antithetic pairs,  F the centred ranks   (1)

Salimans et al. 2017, Algorithm 2 and section 2.1, https://arxiv.org/abs/1703.03864
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from bench.methods.driver import EvolutionDriver
from bench.methods.method import CONSTANT, Box, Method, Params, Setting
from bench.records.models import Value
from bench.tensors import advance
from bench.workloads.base import PopulationTask

POPULATION = 64


def centred_ranks(fitness: Tensor) -> Tensor:
    """Ranks from -½ to ½, equal fitness sharing its mean rank."""
    below = (fitness[:, None] > fitness[None, :]).sum(1).float()
    equal = (fitness[:, None] == fitness[None, :]).sum(1).float()
    return (below + (equal - 1) / 2) / (len(fitness) - 1) - 0.5


class OpenAIES(EvolutionDriver):
    """Dense Gaussian noise, centred ranks, Adam."""

    population = POPULATION

    def __init__(self, model: nn.Module, lr: float, sigma: float, seed: int) -> None:
        self._named = dict(model.named_parameters())
        self._adam = torch.optim.Adam(self._named.values(), lr=lr, maximize=True)
        self._sigma = sigma
        self._generator = torch.Generator().manual_seed(seed)

    def generation(self, task: PopulationTask, number: int) -> float:
        """One generation of (1)."""
        half = self.population // 2
        noise = {name: torch.randn(half, *p.shape, generator=self._generator) for name, p in self._named.items()}
        noise = {name: torch.cat([draw, -draw]) for name, draw in noise.items()}
        with torch.no_grad():
            scores = task.fitness({name: p + self._sigma * noise[name] for name, p in self._named.items()}, number)
            ranks = centred_ranks(scores)
            for name, p in self._named.items():
                p.grad = (ranks @ noise[name].flatten(1)).view_as(p) / (self.population * self._sigma)  # (1)
        advance(self._adam)
        return scores.mean().item()

    def state_bytes(self) -> int:
        """Adam's moments."""
        return sum(v.numel() * v.element_size() for state in self._adam.state.values() for v in state.values())


def openai_es(model: nn.Module, params: Params, setting: Setting) -> EvolutionDriver:
    """The dense baseline."""
    return OpenAIES(model, float(params["lr"]), float(params["sigma"]), setting.seed)


class EggrollDriver(EvolutionDriver):
    """TorchEggrollES: the factored forward where the task has one batch for all members, else stacked parameters."""

    population = POPULATION

    def __init__(self, es: Any) -> None:
        self._es = es

    def generation(self, task: PopulationTask, number: int) -> float:
        """One generation."""
        if task.batch is not None:
            inputs, loss, targets = task.batch(number)
            mean: float = self._es.step(inputs, loss, targets)
            return mean
        self._es.prepare_population()
        with torch.no_grad():
            scores = task.fitness(self._es.get_stacked_params(), number)
        self._es.apply_fitness_scores(scores)
        return scores.mean().item()


def eggroll(model: nn.Module, params: Params, setting: Setting) -> EvolutionDriver:
    """TorchEggrollES under Adam and centred ranks, as the dense strategy."""
    from torcheggroll import TorchEggrollES

    es: Any = TorchEggrollES(
        model,
        pop_size=POPULATION,
        sigma=float(params["sigma"]),
        lr=float(params["lr"]),
        rank=int(params["rank"]),
        optimizer=torch.optim.Adam,
        fitness="rank",
        device=torch.device("cpu"),
        seed=setting.seed,
    )
    return EggrollDriver(es)


EVOLUTION_RATES = (1e-3, 1.0)
SIGMAS: dict[str, tuple[Value, ...]] = {"sigma": (0.02, 0.05, 0.1)}
START: dict[str, Value] = {"lr": 0.01, "sigma": 0.02, "schedule": CONSTANT}


def _ranked(rank: int) -> Method:
    """Returns TorchEggrollES under the optimizer and the shaping of the dense strategy, its noise of one rank."""
    box = Box(EVOLUTION_RATES, START, SIGMAS, (CONSTANT,), {"rank": rank})
    title = f"TorchEggrollES, rank {rank}"
    whole = Method(f"torcheggroll-r{rank}", title, "torcheggroll", "es", eggroll, box, ours=rank == 4)
    return whole if whole.ours else replace(whole, ablates="torcheggroll-r4", instead={"rank": rank})


EVOLUTION = [
    Method(
        "openai-es", "OpenAI-ES (dense)", "bench", "es", openai_es, Box(EVOLUTION_RATES, START, SIGMAS, (CONSTANT,))
    ),
    *(_ranked(rank) for rank in (4, 1, 16)),
]
