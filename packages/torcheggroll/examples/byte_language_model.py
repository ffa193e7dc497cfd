"""A byte-level language model trained by evolution strategies on text that comes with Python.

python examples/byte_language_model.py --steps 100 --pop-size 128
"""

import argparse
import math
from importlib.resources import files

import torch
from torch import Tensor, nn
from torch.nn import functional
from torcheggroll import TorchEggrollES


def text() -> Tensor:
    """Read the documentation topics of Python's own help system, as bytes."""
    source = files("pydoc_data").joinpath("topics.py").read_bytes()
    return torch.frombuffer(bytearray(source), dtype=torch.uint8).long()


class ByteModel(nn.Module):
    """Predict the next byte from the last few: embeddings, one hidden layer."""

    def __init__(self, context: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(256, 16)
        self.hidden, self.norm, self.head = nn.Linear(16 * context, width), nn.LayerNorm(width), nn.Linear(width, 256)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, context)`` bytes to ``(batch, 256)`` scores."""
        return self.head(torch.relu(self.norm(self.hidden(self.embed(x).flatten(1)))))


def batch(data: Tensor, size: int, context: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw windows and the byte after each."""
    at = torch.randint(0, len(data) - context - 1, (size, 1), generator=generator)
    window = data[at + torch.arange(context + 1)]
    return window[:, :-1], window[:, -1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--pop-size", type=int, default=128)
    parser.add_argument("--sigma", type=float, default=0.02)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--rank", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    data = text()
    train, held_out = data[: -len(data) // 10], data[-len(data) // 10 :]
    model = ByteModel(context=8, width=128)
    es = TorchEggrollES(
        model, args.pop_size, args.sigma, args.lr, args.rank, seed=0, optimizer=torch.optim.Adam, fitness="rank"
    )
    frequency = torch.bincount(data, minlength=256).double() / len(data)
    unigram = -float((frequency * frequency.clamp(min=1e-12).log2()).sum())
    x_test, y_test = batch(held_out, 4096, 8, generator)
    for step in range(args.steps):
        x, y = batch(train, 512, 8, generator)
        es.step(x, functional.cross_entropy, y)
        if step % 20 == 0 or step == args.steps - 1:
            with torch.no_grad():
                bits = float(functional.cross_entropy(model(x_test), y_test)) / math.log(2)
            print(f"step {step:4d}  held-out bits per byte {bits:.3f}  (unigram {unigram:.3f})")


if __name__ == "__main__":
    main()
