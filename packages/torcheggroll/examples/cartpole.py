"""Balance a pole by evolution: 32 members play side by side, each in its own environment, in one forward pass per step.

python examples/cartpole.py --seed 0
python examples/cartpole.py --seed 0 --bits 4
"""

import argparse
import time
import warnings
from typing import Any

import gymnasium
import torch
from torch import Tensor, nn
from torch.nn import functional
from torcheggroll import TorchEggrollES
from torcheggroll.rl import PolicySearch

LIMIT = 2.0  # the largest quantised weight


class QuantizedLinear(nn.Linear):
    """A layer whose every number is one of 2ᵇ - 1 levels: 15 for four bits, 255 for eight; rounding has no gradient."""

    def __init__(self, inputs: int, outputs: int, bits: int) -> None:
        super().__init__(inputs, outputs)
        self.top = 2 ** (bits - 1) - 1

    def forward(self, x: Tensor) -> Tensor:
        """Apply the rounded layer."""
        return functional.linear(x, self.rounded(self.weight), self.rounded(self.bias))

    def rounded(self, value: Tensor) -> Tensor:
        """Give the nearest levels."""
        return torch.round(value * (self.top / LIMIT)).clamp(-self.top, self.top) * (LIMIT / self.top)


def policy(inputs: int, outputs: int, bits: int | None) -> nn.Module:
    """Two layers, with float weights or of so many bits."""

    def layer(n: int, m: int) -> nn.Module:
        return nn.Linear(n, m) if bits is None else QuantizedLinear(n, m, bits)

    return nn.Sequential(layer(inputs, 16), nn.Tanh(), layer(16, outputs))


def train(
    game: str, seed: int, bits: int | None, generations: int, pop_size: int, good: float, episodes: int, **settings: Any
) -> dict[str, Any]:
    """Evolve until the centre of the population plays well, then play ``episodes`` that nobody has seen."""
    # a rounded weight has no factored form: it is made for each member, as the warning would say
    warnings.filterwarnings("ignore", "torcheggroll has no factored rule")
    torch.manual_seed(seed)
    single = gymnasium.make(game)
    outputs, inputs = int(single.action_space.n), int(single.observation_space.shape[0])
    es = TorchEggrollES(policy(inputs, outputs, bits), pop_size, seed=seed, **settings)
    search = PolicySearch(es, lambda n: gymnasium.make_vec(game, n, "sync"), normalize=True)
    start = time.process_time()
    for generation in range(1, generations + 1):
        mean = search.step()
        said = f"generation {generation:3d}  mean return {mean:6.1f}  steps {search.env_steps:7d}"
        if generation % 5 == 0:
            centre = search.evaluate(30, seed=generation).mean().item()
            said += f"  centre {centre:6.1f}"
        print(f"{said}  {time.process_time() - start:5.1f} s", flush=True)
        if generation % 5 == 0 and centre >= good:
            break
    final = search.evaluate(episodes, seed=10**6 + seed).mean().item()
    return {
        "return": final,
        "generations": generation,
        "env_steps": search.env_steps,
        "cpu_seconds": time.process_time() - start,
    }


def arguments(**defaults: Any) -> dict[str, Any]:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bits", type=int, choices=(4, 8), default=None, help="quantise every weight")
    parser.add_argument("--episodes", type=int, default=100, help="of the last evaluation")
    for name, value in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    return vars(parser.parse_args())


SETTINGS: dict[str, Any] = {
    "generations": 100,
    "pop_size": 32,
    "sigma": 0.5,
    "lr": 1.5,
    "rank": 1,
    "good": 490.0,
    "fitness": "rank",
    "scale": "paper",
    "engine": "fold",
}


if __name__ == "__main__":
    result = train("CartPole-v1", **arguments(**SETTINGS))
    print(f"mean return of the policy: {result['return']:.1f}")
