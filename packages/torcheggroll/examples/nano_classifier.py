"""Classify coloured shapes with evolution strategies: no gradient anywhere.

python examples/nano_classifier.py --steps 50 --pop-size 64
"""

import argparse

import torch
from torch import Tensor, nn
from torch.nn import functional
from torcheggroll import TorchEggrollES

COLORS = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 1, 0], [0, 1, 1]])
SHAPES = torch.tensor([[0.46], [-0.4]])  # circularity of a circle and of a square


class Classifier(nn.Module):
    """Five colours times two shapes, from two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.color, self.shape = nn.Linear(3, 5), nn.Linear(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Add the scores of colour and shape: ``(batch, 4)`` to ``(batch, 10)``."""
        color, shape = self.color(x[:, :3]), self.shape(x[:, 3:])
        return (color.unsqueeze(2) + shape.unsqueeze(1)).flatten(1)


def draw(per_class: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw noisy features of each class."""
    labels = torch.arange(10).repeat_interleave(per_class)
    clean = torch.cat([COLORS[labels // 2], SHAPES[labels % 2]], 1)
    return clean + 0.1 * torch.randn(clean.shape, generator=generator), labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--pop-size", type=int, default=32)
    parser.add_argument("--sigma", type=float, default=0.1)
    parser.add_argument("--lr", type=float, default=1.0)
    parser.add_argument("--rank", type=int, default=2)
    parser.add_argument("--n-per-class", type=int, default=20)
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    (x, y), (x_test, y_test) = draw(args.n_per_class, generator), draw(args.n_per_class, generator)
    model = Classifier()
    es = TorchEggrollES(model, args.pop_size, args.sigma, args.lr, args.rank, seed=args.seed)
    for step in range(args.steps):
        fitness = es.step(x, functional.cross_entropy, y)
        if step % 10 == 0 or step == args.steps - 1:
            with torch.no_grad():
                accuracy = (model(x_test).argmax(1) == y_test).float().mean()
            print(f"step {step:3d}  mean fitness {fitness:7.4f}  test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
