"""Train a small classifier on two noisy spirals with ThermoLion: ``python examples/classifier.py``."""

import math

import torch
from thermolion import ThermoLion
from torch import Tensor, nn


def spirals(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return points of two interleaved spirals, ``(count, 2)``, and which spiral each is of."""
    label = torch.randint(2, (count,), generator=generator)
    radius = torch.rand(count, generator=generator).sqrt() * 2.5
    angle = radius * 1.5 + math.pi * label
    points = torch.stack((radius * angle.cos(), radius * angle.sin()), dim=1)
    return points + 0.05 * torch.randn(count, 2, generator=generator), label


def main(epochs: int = 10) -> float:
    """Train, print the accuracy after every epoch, and return the last."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    points, labels = spirals(4096, generator)
    test_points, test_labels = spirals(1024, generator)
    model = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    optimizer = ThermoLion(model.parameters(), lr=1e-3)
    accuracy = 0.0
    for epoch in range(epochs):
        for batch in torch.randperm(len(points), generator=generator).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(points[batch]), labels[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            accuracy = (model(test_points).argmax(dim=1) == test_labels).float().mean().item()
        print(f"epoch {epoch + 1}: accuracy {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
