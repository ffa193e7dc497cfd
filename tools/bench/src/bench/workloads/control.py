"""cartpole, acrobot, lunarlander: a policy trained by evolution, or by advantage actor-critic with a reward to read.

Both families optimise the same policy network; what each costs in environment steps is recorded.
"""

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bench.records.models import Family
from bench.tensors import outputs, seeded, tensor_of
from bench.workloads.base import Budget, GradientTask, PopulationTask, Task, Workload, evaluating
from bench.workloads.games import Acrobot, CartPole, Game, LunarLander, Observation

HIDDEN, GAMES, DISCOUNT, TRACE, ENTROPY = 32, 16, 0.99, 0.95, 0.01


class Policy(nn.Module):
    """Observations to action logits; the critic is a second net that evolution leaves out."""

    def __init__(self, game: Game, critic: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(game.observations, HIDDEN), nn.Linear(HIDDEN, game.actions)
        if critic:
            self.critic = nn.Sequential(nn.Linear(game.observations, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1))

    def forward(self, seen: Tensor) -> Tensor:
        """Logits of the actions."""
        return outputs(self.second, torch.tanh(self.first(seen)))


def population_logits(seen: Tensor, members: Mapping[str, Tensor]) -> Tensor:
    """Logits (members, actions), member i looking at its own row of ``seen``."""
    hidden = torch.tanh((members["first.weight"] @ seen[:, :, None])[..., 0] + members["first.bias"])
    return (members["second.weight"] @ hidden[:, :, None])[..., 0] + members["second.bias"]


class Rollout:
    """Counts environment steps and plays games to their end."""

    def __init__(self, game: Game) -> None:
        self.game = game
        self.steps = 0

    def returns(self, act: Callable[[Tensor], Tensor], count: int, generator: np.random.Generator) -> Tensor:
        """Returns of ``count`` games, each played until it ends or is cut off."""
        seen = self.game.reset(count, generator)
        total, alive = np.zeros(count), np.ones(count, np.bool_)
        for _ in range(self.game.limit):
            action = act(tensor_of(seen)).numpy()
            seen, reward, ended = self.game.step(action)
            total += reward * alive
            self.steps += int(alive.sum())
            alive &= ~ended
            if not alive.any():
                break
        return tensor_of(total).float()


class ActorCritic:
    """A2C: 16 games side by side, a few steps of each per update, advantages with trace 0.95."""

    def __init__(self, model: Policy, game: Game, steps: int, seed: int) -> None:
        self.model, self.game, self.steps = model, game, steps
        self.generator = np.random.Generator(np.random.PCG64([seed, 6]))
        self.draws = torch.Generator().manual_seed(seed + 1)
        self.seen = game.reset(GAMES, self.generator)
        self.age, self.so_far = np.zeros(GAMES, np.int64), np.zeros(GAMES)
        self.finished: deque[float] = deque(maxlen=20)
        self.env_steps = 0

    def reward(self) -> float | None:
        """Mean return of the last games that ended, None before the first."""
        return float(np.mean(self.finished)) if self.finished else None

    def loss(self, update: int) -> Tensor:
        """Plays a few steps and returns the loss of policy, critic and entropy."""
        seen, after, action, reward, ended, cut = self._play()
        with torch.no_grad():
            value, following = self.model.critic(seen)[..., 0], self.model.critic(after)[..., 0]
        gain = reward + DISCOUNT * following * (1 - ended) - value
        advantage, running = torch.zeros_like(gain), torch.zeros(GAMES)
        for t in reversed(range(self.steps)):
            running = gain[t] + DISCOUNT * TRACE * (1 - cut[t]) * running
            advantage[t] = running
        logits = functional.log_softmax(self.model(seen), -1)
        chosen = logits.gather(-1, action[..., None])[..., 0]
        scaled = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        entropy = -(logits.exp() * logits).sum(-1).mean()
        critic = functional.smooth_l1_loss(self.model.critic(seen)[..., 0], advantage + value)
        return -(chosen * scaled).mean() + 0.5 * critic - ENTROPY * entropy

    def _play(self) -> tuple[Tensor, ...]:
        """(steps, games, …) of what was seen before and after, done, earned, ended, cut."""
        rows: list[list[Tensor]] = []
        for _ in range(self.steps):
            seen = tensor_of(self.seen)
            with torch.no_grad():
                chance = functional.softmax(self.model(seen), -1)
                action = torch.multinomial(chance, 1, generator=self.draws)[:, 0]
            after, reward, ended = self.game.step(action.numpy())
            self.age += 1
            self.so_far += reward
            over = ended | (self.age >= self.game.limit)
            parts = (seen, tensor_of(after), action, tensor_of(reward).float())
            rows.append([*parts, tensor_of(ended).float(), tensor_of(over).float()])
            self.seen = self._start_again(over, after)
        self.env_steps += self.steps * GAMES
        return tuple(torch.stack(column) for column in zip(*rows, strict=True))

    def _start_again(self, over: NDArray[np.bool_], after: Observation) -> Observation:
        if not over.any():
            return after
        self.finished.extend(self.so_far[over].tolist())
        self.age[over], self.so_far[over] = 0, 0.0
        return self.game.restart(over, self.generator)


def build(make: Callable[[], Game], family: Family, budget: Budget, seed: int, device: str) -> Task:
    """The task of one seed."""
    with seeded(seed):
        model = Policy(make(), critic=family == "gradient")

    def score(first: int, count: int) -> float:
        with evaluating(model):
            generator = np.random.Generator(np.random.PCG64([first, 7]))
            return Rollout(make()).returns(lambda seen: model(seen).argmax(-1), count, generator).mean().item()

    validate, test = partial(score, 1, 32), partial(score, 2, 100)
    if family == "gradient":
        player = ActorCritic(model, make(), budget.batch, seed)
        samples = budget.batch * GAMES
        return GradientTask(model, player.loss, validate, test, samples, player.reward, lambda: player.env_steps)
    rollout = Rollout(make())

    def fitness(members: Mapping[str, Tensor], generation: int) -> Tensor:
        count = len(next(iter(members.values())))
        generator = np.random.Generator(np.random.PCG64([seed, 5, generation]))
        return rollout.returns(lambda seen: population_logits(seen, members).argmax(-1), count, generator)

    return PopulationTask(model, fitness, validate, test, 1, lambda: rollout.steps)


def _workload(
    id: str, title: str, question: str, make: Callable[[], Game], steps: Mapping[str, tuple[int, int]], margin: float
) -> Workload:
    """``steps``: per profile, generations of evolution and updates of actor-critic."""
    return Workload(
        id=id,
        title=title,
        question=question,
        metric="mean return",
        better="higher",
        budgets={
            profile: {"es": Budget(generations, 1, evals), "gradient": Budget(updates, 16, evals)}
            for profile, (generations, updates) in steps.items()
            for evals in (3 if profile == "smoke" else 10,)
        },
        build=partial(build, make),
        rewards=True,
        margin=margin,
        only={"gradient": ("adamw", "adaptive-adamw")},
        extra="box2d" if id == "lunarlander" else "",
    )


CARTPOLE = _workload(
    "cartpole",
    "CartPole",
    "Does evolution, or control by the reward, balance a pole?",
    CartPole,
    {"smoke": (6, 30), "quick": (30, 300), "full": (40, 600), "paper": (100, 3000)},
    margin=10.0,
)
ACROBOT = _workload(
    "acrobot",
    "Acrobot",
    "Does it swing up an arm, where the first reward is far away?",
    Acrobot,
    {"smoke": (4, 20), "quick": (15, 300), "full": (30, 600), "paper": (100, 4000)},
    margin=2.0,
)
LUNARLANDER = _workload(
    "lunarlander",
    "LunarLander",
    "Does it land a craft?",
    LunarLander,
    {"smoke": (2, 10), "full": (30, 600), "paper": (200, 6000)},
    margin=10.0,
)
