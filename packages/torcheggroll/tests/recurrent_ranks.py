"""Lives through some windows on some gloo ranks: ``python recurrent_ranks.py WORLD FROM TO FOLDER``."""

import sys
import tempfile
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn import functional

warnings.filterwarnings("ignore")


def main(rank, world, begin, end, folder, meeting):
    from test_recurrent import data, start, strategy
    from torcheggroll.recurrent import PersistentES

    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    run = PersistentES(strategy(), start("linear"))
    if begin:
        saved = torch.load(folder / f"{begin}.pt", weights_only=True)
        run.es.load_state_dict(saved["es"])
        run.load_state_dict(saved["run"])
    for x, y in data(7)[begin:end]:
        run.step(x, functional.mse_loss, y)
    state = {"es": run.es.state_dict(), "run": run.state_dict()}
    if rank == 0:
        torch.save(state, folder / f"{end}.pt")
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    world, begin, end = map(int, sys.argv[1:4])
    with tempfile.TemporaryDirectory() as meeting:
        mp.spawn(main, (world, begin, end, Path(sys.argv[4]), f"{meeting}/file"), world)
