"""Plays a few generations on some gloo ranks, and saves what rank 0 ends with: ``python rl_ranks.py WORLD PATH``."""

import sys
import tempfile
import warnings

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

warnings.filterwarnings("ignore")


def main(rank, world, meeting, path):
    from test_rl import search, strategy

    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    run = search(es=strategy(), episodes=2, normalize=True)
    means = [run.step() for _ in range(4)]
    state = {"means": means, "weights": run.es.base_params, "normalizer": run.normalizer.state_dict()}
    torch.save(state, f"{path}.{rank}")
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    world, path = int(sys.argv[1]), sys.argv[2]
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(main, (world, f"{folder}/meeting", path), world)
