"""A GRU learns to repeat bits that it saw two windows ago, by persistent evolution; the other arms show what it takes.

python examples/persistent_gru.py --seed 0
python examples/persistent_gru.py --seed 0 --arm redrawn
"""

import argparse
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torcheggroll import TorchEggrollES
from torcheggroll.recurrent import PersistentES

WINDOW, WINDOWS = 4, 3  # bits come in the first window, the second is blank, and the third ends with the answer
ARMS = {
    "persistent": (WINDOWS, WINDOWS),  # perturbations and states live for the whole sequence
    "redrawn": (1, WINDOWS),  # states live on, but under new perturbations in each window
    "reset": (1, 1),  # each window is evaluated by itself
}


class Memory(nn.Module):
    """A GRU whose gates are linear layers, so that the population shares its products."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.seen, self.kept = nn.Linear(2, 3 * hidden), nn.Linear(hidden, 3 * hidden)
        self.answer = nn.Linear(hidden, 1)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """``(batch, time, 2)`` and ``(batch, hidden)`` to scores ``(batch, time)`` and the state behind them."""
        scores: list[Tensor] = []
        for seen in self.seen(x).unbind(1):
            update, forget, new = seen.chunk(3, -1)
            kept_update, kept_forget, kept_new = self.kept(state).chunk(3, -1)
            gate = torch.sigmoid(update + kept_update)
            candidate = torch.tanh(new + torch.sigmoid(forget + kept_forget) * kept_new)
            state = candidate + gate * (state - candidate)
            scores.append(self.answer(state)[..., 0])
        return torch.stack(scores, -1), state


def sequences(bits: int) -> tuple[Tensor, Tensor]:
    """Every pattern of bits, ``(patterns, time, 2)``: the bit or 0, and whether the answer is due; and the answers."""
    patterns = torch.tensor(list(itertools.product([0.0, 1.0], repeat=bits)))
    x = torch.zeros(len(patterns), WINDOW * WINDOWS, 2)
    x[:, :bits, 0] = 2 * patterns - 1
    x[:, -bits:, 1] = 1.0
    return x, patterns


def train(
    arm: str, seed: int, count: int, bits: int, hidden: int, lr: float, say: Callable[[str], object], **settings: Any
) -> dict[str, Any]:
    """Live through ``count`` sequences; every arm is given the same, and lives through as many steps."""
    noise_reuse, windows = ARMS[arm]
    torch.manual_seed(seed)
    model = Memory(hidden)
    es = TorchEggrollES(
        model, seed=seed, optimizer=partial(torch.optim.Adam, lr=lr), noise_reuse=noise_reuse, **settings
    )
    x, answers = sequences(bits)
    start = torch.zeros(len(x), hidden)
    run = PersistentES(es, start, windows)

    def loss(scores: Tensor, due: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(scores[:, -bits:], answers) * due

    for number in range(1, count + 1):
        for window, due in zip(x.split(WINDOW, 1), torch.eye(WINDOWS)[-1], strict=True):
            run.step(window, loss, due)
        if number % max(count // 10, 1) == 0:
            with torch.no_grad():
                scores = model(x, start)[0]
            centre, right = float(loss(scores, torch.tensor(1.0))), (scores[:, -bits:] > 0) == (answers > 0)
            say(f"sequence {number:4d}  loss {centre:.4f}  accuracy {float(right.float().mean()):.3f}")
    steps = count * WINDOW * WINDOWS * len(x) * es.pop_size
    return {"loss": centre, "accuracy": float(right.float().mean()), "time_steps": steps}


SETTINGS: dict[str, Any] = {
    "count": 120,
    "bits": 2,
    "hidden": 12,
    "pop_size": 64,
    "sigma": 0.2,
    "lr": 0.1,
    "rank": 2,
    "fitness": "rank",
    "scale": "paper",
    "engine": "vmap",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arm", choices=ARMS, default="persistent")
    parser.add_argument("--seed", type=int, default=0)
    for name, value in SETTINGS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    result = train(**vars(parser.parse_args()), say=print)
    print(f"loss of the policy: {result['loss']:.4f}")


if __name__ == "__main__":
    main()
