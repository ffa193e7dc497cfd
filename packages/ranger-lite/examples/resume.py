"""Stop in the middle of a Lookahead cycle, resume from the file, and end at the same weights to the bit."""

import tempfile
from pathlib import Path

import torch
from rangerlite import RangerLite
from torch import nn


def train(model: nn.Module, optimizer: RangerLite, first: int, last: int) -> None:
    """Take the steps from ``first`` up to ``last``, each on its own batch."""
    for step in range(first, last):
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), x.sum(1, keepdim=True)).backward()
        optimizer.step()


def fresh() -> tuple[nn.Module, RangerLite]:
    """Return a model with seeded weights and its optimizer."""
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    return model, RangerLite(model.parameters(), lr=0.05)


def main() -> None:
    """Compare an unbroken run of 30 steps with one stopped after 17."""
    unbroken, optimizer = fresh()
    train(unbroken, optimizer, 0, 30)

    model, optimizer = fresh()
    train(model, optimizer, 0, 17)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "checkpoint.pt"
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
        checkpoint = torch.load(file, weights_only=True)

    resumed, optimizer = fresh()
    resumed.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    train(resumed, optimizer, 17, 30)
    print("equal to the bit:", torch.equal(unbroken.weight, resumed.weight))


if __name__ == "__main__":
    main()
