"""Replicas and shards: two gloo processes."""

import shutil
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from thermolion import ThermoLion
from torch import nn

pytestmark = pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="needs gloo")


COMPILER = shutil.which("c++") and (shutil.which("ninja") or find_spec("ninja")) and find_spec("setuptools")
SHARDED = [{"temp_decay": 0.001}, {"seed": 5, "temp_decay": 1.0}, {"temp_decay": 0.001, "foreach": True}]
FUSED = pytest.param(
    {"fused": True}, marks=pytest.mark.skipif(not COMPILER, reason="needs a C++ compiler, ninja, setuptools")
)


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))


def batch(step, rank):
    generator = torch.Generator().manual_seed(1000 * step + rank)
    return torch.randn(8, 6, generator=generator), torch.randn(8, 3, generator=generator)


def in_group(rank, folder, job, arguments):
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    torch.set_num_threads(1)
    try:
        torch.save(job(rank, *arguments), Path(folder) / f"{rank}.pt")
        dist.barrier()  # neither leaves while the other still talks
    finally:
        dist.destroy_process_group()


def both(folder, job, *arguments):
    mp.start_processes(in_group, args=(str(folder), job, arguments), nprocs=2, start_method="spawn")
    return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(2)]


def replicas(rank, settings):
    net = nn.parallel.DistributedDataParallel(model())
    torch.manual_seed((1 << 63) + 100 + rank)  # ranks are seeded differently
    optimizer = ThermoLion(net.parameters(), lr=1e-2, **settings)
    for step in range(60):
        points, targets = batch(step, rank)
        optimizer.zero_grad()
        nn.functional.mse_loss(net(points), targets).backward()
        optimizer.step()
    return {"params": list(net.module.state_dict().values()), "seed": optimizer.param_groups[0]["seed"]}


def shards(rank, settings):
    try:
        from torch.distributed.fsdp import fully_shard
    except ImportError:
        from torch.distributed._composable.fsdp import fully_shard
    from torch.distributed.device_mesh import init_device_mesh

    net = fully_shard(model(), mesh=init_device_mesh("cpu", (2,)))
    optimizer = ThermoLion(net.parameters(), lr=1e-2, **settings)
    for step in range(50):
        points, targets = batch(step, 0)
        optimizer.zero_grad()
        nn.functional.mse_loss(net(points), targets).backward()
        optimizer.step()
    means = [optimizer.state[param]["v_mean"] for param in net.parameters()]
    return {"params": [param.full_tensor().detach() for param in net.parameters()], "means": means}


def alone(settings):
    net = model()
    optimizer = ThermoLion(net.parameters(), lr=1e-2, **settings)
    for step in range(50):
        points, targets = batch(step, 0)
        optimizer.zero_grad()
        nn.functional.mse_loss(net(points), targets).backward()
        optimizer.step()
    return [param.detach() for param in net.parameters()]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"foreach": False, "fused": False}, {"foreach": True}, FUSED], ids=str)
def test_replicas_stay_equal_to_the_bit_under_different_seeds(tmp_path, settings):
    first, second = both(tmp_path, replicas, settings)
    assert first["seed"] == second["seed"] == (1 << 63) + 100
    assert all(map(torch.equal, first["params"], second["params"]))


@pytest.mark.slow
@pytest.mark.parametrize("settings", SHARDED, ids=str)
def test_shards_step_as_the_whole_does(tmp_path, settings):
    first, second = both(tmp_path, shards, settings)
    for a, b, whole in zip(first["params"], second["params"], alone(settings), strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, whole, rtol=2e-4, atol=2e-5)
    assert all(map(torch.equal, first["means"], second["means"]))


def test_without_a_group_the_seed_is_torchs_own():
    torch.manual_seed(77)
    param = nn.Parameter(torch.zeros(3))
    optimizer = ThermoLion([param])
    assert optimizer.param_groups[0]["seed"] is None
    param.grad = torch.ones(3)
    stream = torch.get_rng_state()
    optimizer.step()
    assert optimizer.param_groups[0]["seed"] == 77
    assert torch.equal(torch.get_rng_state(), stream)
