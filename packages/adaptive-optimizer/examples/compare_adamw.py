"""AdamW beside AdaptiveOptimizer(AdamW): loss and learning-rate curves of the same runs, as a picture.

    pip install "adaptive-optimizer[plot]"
    python compare_adamw.py [comparison.png]

A small network learns y = sin(3x₁) cos(2x₂) from minibatches, from three starting rates, once with each optimizer:
same initial weights, same batches.
"""

import sys
from typing import Any

import torch
from adaptive_optimizer import AdaptiveOptimizer
from matplotlib.figure import Figure
from torch import nn
from torch.optim import AdamW

RATES = [1e-4, 1e-3, 1e-2]
STEPS = 1500


def run(lr: float, *, adapted: bool) -> tuple[list[float], list[float]]:
    """Train once; the loss on held-out points every ten steps, and the rate in use."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
    base = AdamW(net.parameters(), lr=lr)
    opt = AdaptiveOptimizer(base, lr_rule="trend+variance", betas_rule=("relative", "variance")) if adapted else base
    draw = torch.Generator().manual_seed(1)
    held_out = torch.rand(1024, 2, generator=draw) * 2 - 1
    losses: list[float] = []
    rates: list[float] = []
    for step in range(STEPS):
        x = torch.rand(256, 2, generator=draw) * 2 - 1
        loss = nn.functional.mse_loss(net(x), target(x))
        opt.zero_grad()
        loss.backward()
        if isinstance(opt, AdaptiveOptimizer):
            opt.step_loss(loss)
        opt.step()
        if step % 10 == 0:
            with torch.no_grad():
                losses.append(nn.functional.mse_loss(net(held_out), target(held_out)).item())
            rates.append(opt.lr if isinstance(opt, AdaptiveOptimizer) else lr)
    return losses, rates


def target(x: torch.Tensor) -> torch.Tensor:
    """The function to learn, shape (n, 1)."""
    return ((3 * x[:, 0]).sin() * (2 * x[:, 1]).cos()).unsqueeze(1)


def main() -> None:
    """Run all six, print the last losses, write the picture."""
    path = sys.argv[1] if len(sys.argv) > 1 else "comparison.png"
    torch.set_num_threads(1)
    figure: Any = Figure(figsize=(10, 7), layout="constrained")
    for column, lr in enumerate(RATES):
        above, below = figure.add_subplot(2, 3, column + 1), figure.add_subplot(2, 3, column + 4)
        for adapted, name in ((False, "AdamW"), (True, "AdaptiveOptimizer(AdamW)")):
            losses, rates = run(lr, adapted=adapted)
            steps = range(0, STEPS, 10)
            above.semilogy(steps, losses, label=name)
            below.semilogy(steps, rates, label=name)
            print(f"lr={lr:g} {name}: held-out loss {losses[-1]:.2e}, last lr {rates[-1]:.2e}")
        above.set_title(f"starting lr {lr:g}")
        below.set_xlabel("step")
        if column == 0:
            above.set_ylabel("held-out loss")
            below.set_ylabel("learning rate")
            above.legend()
    figure.savefig(path, dpi=110)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
