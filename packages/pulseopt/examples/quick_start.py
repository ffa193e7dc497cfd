"""AEES around AdamW on a small regression, beside AdamW alone: ``python quick_start.py``."""

import torch
from pulseopt import AEES
from torch import nn

STEPS = 1000


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs and noisy targets, the same at the same step of every run."""
    draw = torch.Generator().manual_seed(step)
    x = torch.randn(32, 8, generator=draw)
    return x, x.pow(2).sum(1, keepdim=True) + 0.5 * torch.randn(32, 1, generator=draw)


def train(controlled: bool) -> tuple[float, AEES]:
    """Return the mean loss of the last 50 steps, and the controller."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    aees = AEES(
        optimizer,
        lr_candidates=[0.5, 1.0, 2.0, 4.0] if controlled else [1.0],
        noise_candidates=[0.0, 0.005] if controlled else [0.0],
        episode_length=20,
        lr_scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS),
        exploration_coef=0.1,
        reward_baseline="ema",
        seed=0,
    )
    last: list[float] = []
    for step in range(STEPS):
        x, y = batch(step)
        aees.step_start(step)
        optimizer.zero_grad()
        loss = (model(x) - y).pow(2).mean()
        loss.backward()
        aees.step_end(loss)
        last = [*last[-49:], loss.item()]
    aees.finalize()
    return sum(last) / len(last), aees


def main() -> None:
    """Train both ways and print what came of it."""
    alone, _ = train(controlled=False)
    with_aees, aees = train(controlled=True)
    print(f"AdamW alone: loss {alone:.3f}")
    print(f"under AEES:  loss {with_aees:.3f}")
    print(aees)


if __name__ == "__main__":
    main()
