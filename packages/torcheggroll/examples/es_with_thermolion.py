"""The ES estimate driven by ThermoLion instead of SGD: any torch optimizer will do.

pip install thermolion
python examples/es_with_thermolion.py
"""

import argparse

import torch
from torch import nn
from torch.nn import functional
from torch.optim import Optimizer
from torcheggroll import TorchEggrollES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    args = parser.parse_args()
    from thermolion import ThermoLion

    def thermolion(params: list[nn.Parameter]) -> Optimizer:
        return ThermoLion(params)

    torch.manual_seed(0)
    x = torch.randn(256, 8)
    y = torch.sin(x.sum(1, keepdim=True))
    for name, optimizer in (("SGD", None), ("ThermoLion", thermolion)):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
        es = TorchEggrollES(model, pop_size=128, sigma=0.05, seed=0, optimizer=optimizer)
        first = es.step(x, functional.mse_loss, y)
        for _ in range(args.steps - 1):
            last = es.step(x, functional.mse_loss, y)
        print(f"{name:>10}: mean fitness {first:.4f} -> {last:.4f} in {args.steps} steps")


if __name__ == "__main__":
    main()
