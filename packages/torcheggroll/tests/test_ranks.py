"""Ranks as processes: gloo groups of two and four beside one process; what crosses, and a rank that is lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import rank as job
import torch
import torch.distributed as dist

pytestmark = pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="needs gloo")
HERE = Path(__file__).parent
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


def start(name, folder, world, *more, **environment):
    command = [sys.executable, str(HERE / "rank.py"), name, str(folder)]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    return [
        subprocess.Popen([*command, str(r), str(world), *more], env=one_thread, stderr=subprocess.PIPE)
        for r in range(world)
    ]


def finished(processes):
    try:
        return [process.communicate(timeout=120)[1].decode() for process in processes]
    finally:
        for process in processes:
            process.kill()


def of_ranks(name, folder, world, *more, **environment):
    errors = finished(start(name, folder, world, *more, **environment))
    files = [folder / f"{name}_{world}_{r}.pt" for r in range(world)]
    assert all(file.exists() for file in files), "\n".join(errors)
    return [torch.load(file) for file in files]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def two(folder):
    return of_ranks("every_run", folder, 2)


@pytest.fixture(scope="module")
def alone():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield {name: job.weights(job.run(call, settings)) for name, (call, settings) in job.RUNS.items()}
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", job.RUNS)
def test_two_ranks_end_with_the_weights_of_one_process_to_the_bit(name, two, alone):
    assert all(torch.equal(alone[name], found[name]) for found in two)


def test_two_ranks_divide_what_is_written_and_learn_as_one_process(folder):
    zero, one = of_ranks("texts", folder, 2)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = job.texts(folder, 0, 1)
    torch.set_num_threads(threads)
    assert zero["members"] + one["members"] == alone["members"]
    for found in (zero, one):
        assert torch.equal(found["weights"], alone["weights"])
        assert found["means"] == alone["means"]
        assert found["unchanged"]
    assert torch.equal(torch.cat([zero["written"], one["written"]]), alone["written"])
    assert "one score for each of its 2 texts" in one["error"]
    assert "rank 1 could not evaluate" in zero["error"]


def test_the_traffic_of_a_step_is_its_fitness_whatever_the_model(two):
    for found in two:
        assert int(found["bytes 10 12"]) == int(found["bytes 500 12"])
        assert int(found["bytes 10 12"]) == 8 * (2 + 1) * (1 + 6)  # two rows of room and its own
        assert int(found["bytes 10 120"]) == 8 * (2 + 1) * (1 + 60)
        received = int(found["bytes 10 120"]) * 2 // 3
        assert received <= 8 * 120 + 8 * 2 * (1 + 2)


@pytest.mark.slow
def test_four_ranks_do_too_also_from_a_checkpoint_of_two(two, alone, folder):
    four = of_ranks("every_run", folder, 4)
    assert all(torch.equal(alone[name], found[name]) for found in four for name in job.RUNS)
    unbroken = job.weights(job.run(job.by_loss, {}, steps=6))
    resumed = of_ranks("going_on", folder, 4)
    assert all(torch.equal(unbroken, found["loss"]) for found in resumed)


@pytest.mark.slow
def test_ranks_that_begin_differently_are_refused_by_name(folder):
    zero, one = of_ranks("beginnings", folder, 2)
    for found in (zero, one):
        assert "weights and buffers (rank 1 from rank 0)" in found["weights"]
        assert "the seed (rank 1 from rank 0)" in found["seed"]
        assert "settings (rank 1 from rank 0)" in found["settings"]
        assert "the choice to give a seed (rank 1 from rank 0)" in found["some seeds"]
        assert found["agreed"] == 200
        assert found["group of one"]
        assert "must be one that this process belongs to" in found["outside"]
    assert zero["separate"] != one["separate"]


@pytest.mark.slow
@pytest.mark.parametrize(("way", "timeout", "within"), [("killed", "60", 10), ("asleep", "3", 10)])
def test_a_lost_rank_ends_the_step_and_nothing_is_written(way, timeout, within, tmp_path):
    processes = start("lost", tmp_path, 2, timeout, WAY=way)
    finished(processes[:1])
    processes[1].kill()
    processes[1].communicate()
    found = torch.load(tmp_path / "lost_2_0.pt")
    assert "rank 0 of 2 lost another rank in epoch 1" in found["error"]
    assert "start all of them again from the last checkpoint" in found["error"]
    assert found["unchanged"]
    assert found["epoch"] == 1
    assert found["seconds"] < within


@pytest.mark.slow
def test_torchrun_starts_a_killed_run_again_and_it_ends_like_the_unbroken_one(tmp_path):
    def torchrun(name, **environment):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command += ["--max-restarts", "1", str(HERE / "torchrun_job.py"), "--steps", "30", "--checkpoint", name]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": LOOPBACK} | environment
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False
        )

    unbroken, killed = torchrun("unbroken.pt"), torchrun("killed.pt", KILL_AT="17")
    assert unbroken.returncode == killed.returncode == 0, unbroken.stderr + killed.stderr
    assert "goes on" not in unbroken.stdout
    assert "goes on at step 10" in killed.stdout
    assert "lost another rank in epoch 17" in killed.stderr
    want, got = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("unbroken", "killed"))
    assert want["epoch"] == got["epoch"] == 30
    assert all(torch.equal(want["base_params"][name], value) for name, value in got["base_params"].items())
    assert not (tmp_path / "killed.new").exists()
