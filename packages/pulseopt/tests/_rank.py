"""What each of two ranks runs in test_ranks.py: python _rank.py ddp|fsdp|ddp-find|fsdp-find rank folder."""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from pulseopt import AEES
from torch import nn

SETTINGS = {"lr_candidates": (0.5, 1.0, 2.0), "noise_candidates": (0.0, 0.05), "episode_length": 4}


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1))


def batch(rank: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(1000 * rank + step)
    x = torch.randn(6, 5, generator=draw)
    return x, x.sum(1, keepdim=True) + rank


def train(kind: str, rank: int, folder: Path) -> None:
    net = model()
    if kind.startswith("ddp"):
        net = nn.parallel.DistributedDataParallel(net)
    else:
        from torch.distributed.fsdp import fully_shard

        fully_shard(net)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.02)
    if kind.endswith("find"):
        aees = AEES.find_rate(optimizer, 60, read_losses="episode")
    else:
        aees = AEES(optimizer, **SETTINGS, seed=None if kind == "ddp" else 7, track_update_norm=True)
    for step in range(60):
        x, y = batch(rank, step)
        aees.step_start(step)
        optimizer.zero_grad()
        loss = (net(x) - y).pow(2).mean()
        loss.backward()
        aees.step_end(loss)
    aees.finalize()
    weights = [p.full_tensor() if hasattr(p, "full_tensor") else p.detach() for p in net.parameters()]
    torch.save({"weights": weights, "logs": aees.get_logs(), "state": aees.state_dict()}, folder / f"{kind}{rank}.pt")


if __name__ == "__main__":
    os.environ.update(MASTER_ADDR="localhost", GLOO_SOCKET_IFNAME="lo")
    kind, rank, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / f"{kind}.store"), 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    train(kind, rank, folder)
    dist.destroy_process_group()
