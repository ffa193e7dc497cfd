"""Find the minimum of a quadratic, as the README does, and print every step."""

import torch
from rangerlite import RangerLite


def main() -> None:
    """Take 20 steps: too few to arrive, enough to see the pull back at every fourth."""
    x = torch.tensor(2.0, requires_grad=True)
    optimizer = RangerLite([x], lr=0.2, lookahead_steps=4)
    for step in range(1, 21):
        loss = x**2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"Step {step:2d}: x = {x:.4f}, loss = {loss:.4f}, grad = {x.grad:.4f}")


if __name__ == "__main__":
    main()
