"""Two processes with different data make the same decisions and end with the same weights."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pulseopt import AEES
from pulseopt._distributed import check_loss, read_losses

HERE = Path(__file__).parent


def run_two(kind, folder):
    command = [sys.executable, "-W", "ignore", str(HERE / "_rank.py"), kind]
    both = [subprocess.Popen([*command, str(rank), str(folder)], stderr=subprocess.PIPE, text=True) for rank in (0, 1)]
    for process in both:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
    return [torch.load(folder / f"{kind}{rank}.pt", weights_only=True) for rank in (0, 1)]


def agree(first, second):
    assert all(torch.equal(a, b) for a, b in zip(first["weights"], second["weights"], strict=True))
    assert first["logs"] == second["logs"]
    assert first["state"]["seed"] == second["state"]["seed"]
    streams = [result["state"]["noise"] for result in (first, second)]
    assert streams[0].keys() == streams[1].keys()
    assert all(torch.equal(state, streams[1][key]) for key, state in streams[0].items())


@pytest.mark.slow
def test_two_ddp_ranks_without_a_seed_agree_to_the_bit(tmp_path):
    first, second = run_two("ddp", tmp_path)
    agree(first, second)
    assert len(set(first["logs"]["selected_combined_names"])) > 3, "several arms were played"


@pytest.mark.slow
def test_two_fsdp_ranks_agree_to_the_bit_and_take_the_noise_of_the_whole(tmp_path):
    pytest.importorskip("torch.distributed.fsdp").__dict__.get("fully_shard") or pytest.skip("needs torch >= 2.6")
    first, second = run_two("fsdp", tmp_path)
    agree(first, second)
    whole = single_process()
    assert whole["logs"]["selected_combined_names"] == first["logs"]["selected_combined_names"]
    for ours, sharded in zip(whole["weights"], first["weights"], strict=True):
        torch.testing.assert_close(ours, sharded, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp-find", "fsdp-find"])
def test_two_ranks_find_the_same_rate_as_one_process(kind, tmp_path):
    pytest.importorskip("torch.distributed.fsdp").__dict__.get("fully_shard") or pytest.skip("needs torch >= 2.6")
    first, second = run_two(kind, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(first["weights"], second["weights"], strict=True))
    assert first["logs"] == second["logs"]
    whole = single_process(find=True)
    for column in ("selected_lr_values", "mean_alignments"):
        known = [[value for value in logs[column] if value is not None] for logs in (whole["logs"], first["logs"])]
        assert known[0] == pytest.approx(known[1], rel=1e-2, abs=1e-3)
    assert len(set(whole["logs"]["selected_lr_values"])) > 2, "the rate moved"


def single_process(find=False):
    """The same training on one process, with both ranks' batches at once."""
    sys.path.insert(0, str(HERE))
    try:
        import _rank
    finally:
        sys.path.pop(0)
    net = _rank.model()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.02)
    aees = AEES.find_rate(optimizer, 60) if find else AEES(optimizer, **_rank.SETTINGS, seed=7)
    for step in range(60):
        x, y = (torch.cat(parts) for parts in zip(_rank.batch(0, step), _rank.batch(1, step), strict=True))
        aees.step_start(step)
        optimizer.zero_grad()
        loss = (net(x) - y).pow(2).mean()
        loss.backward()
        aees.step_end(loss)
    aees.finalize()
    return {"weights": [p.detach() for p in net.parameters()], "logs": aees.get_logs()}


def test_a_single_process_reads_its_own_loss():
    assert read_losses([torch.tensor(1.5)], average=True) == [1.5]
    assert read_losses([2], average=True) == [2.0]
    with pytest.raises(TypeError, match="number"):
        check_loss("x")
    with pytest.raises(TypeError, match="real"):
        check_loss(torch.tensor(1j))
    with pytest.raises(ValueError, match="one number"):
        check_loss(torch.ones(2))
