"""Share a population between processes, and outlive the loss of one.

torchrun --nproc-per-node 2 --max-restarts 3 examples/torchrun_es.py --steps 40

The same program runs alone: python examples/torchrun_es.py. Weights are equal to the bit either way.
"""

import argparse
import os
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional
from torcheggroll import TorchEggrollES


def save(state: object, path: Path) -> None:
    """Write beside the last checkpoint and put it in its place: whoever dies meanwhile leaves a whole one."""
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def train(steps: int, pop_size: int, path: Path) -> None:
    """Go on from the checkpoint, if there is one, to the last step."""
    torch.manual_seed(0)  # every rank begins with the same model and sees the same data
    model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4))
    x = torch.randn(256, 16)
    y = (x @ torch.randn(16, 4)).argmax(1)
    es = TorchEggrollES(model, pop_size=pop_size, sigma=0.05, lr=1.0, seed=0)
    first = not dist.is_initialized() or dist.get_rank() == 0
    if path.exists():
        es.load_state_dict(torch.load(path, weights_only=True))
        if first:
            print(f"goes on at step {es.epoch}")
    while es.epoch < steps:
        fitness = es.step(x, functional.cross_entropy, y)
        if first and (es.epoch % 10 == 0 or es.epoch == steps):
            save(es.state_dict(), path)
            print(f"step {es.epoch:3d}  mean fitness {fitness:.4f}  members here {len(es.own_members)}", flush=True)


def join() -> None:
    """Begin a group under the number of the start: the last start's addresses are of dead processes."""
    timeout = timedelta(seconds=60)  # how long a rank may keep the others waiting
    store, rank, world = next(dist.rendezvous("env://", timeout=timeout))  # type: ignore[attr-defined]
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    own = dist.PrefixStore(f"start {start}", store)  # type: ignore[attr-defined]
    dist.init_process_group("gloo", store=own, rank=rank, world_size=world, timeout=timeout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--pop-size", type=int, default=64)
    parser.add_argument("--checkpoint", type=Path, default=Path("torchrun_es.pt"))
    args = parser.parse_args()
    together = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if together:
        join()
    train(args.steps, args.pop_size, args.checkpoint)
    if together:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
