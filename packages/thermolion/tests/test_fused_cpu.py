import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from thermolion import ThermoLion
from thermolion._paths import fused_cpu
from torch.nn import Parameter

COMPILER = shutil.which("c++") and (shutil.which("ninja") or find_spec("ninja")) and find_spec("setuptools")
needs_compiler = pytest.mark.skipif(not COMPILER, reason="needs a C++ compiler, ninja, setuptools")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_a_killed_build_keeps_no_later_one_waiting(tmp_path, monkeypatch):
    cpp_extension = pytest.importorskip("torch.utils.cpp_extension", reason="torch 2.4 needs setuptools to compile")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    find = cpp_extension._get_build_directory

    def with_a_lock_left_behind(name, verbose):
        folder = find(name, verbose)
        Path(folder, "lock").touch()
        return folder

    monkeypatch.setattr(cpp_extension, "_get_build_directory", with_a_lock_left_behind)
    fused_cpu.kernel.cache_clear()
    assert fused_cpu.kernel()
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()].count(".so") == 1


def prefix(numel, temp_decay, zero, dtype):
    draw = torch.Generator().manual_seed(0)
    param = Parameter(torch.randn(400_000, generator=draw).to(dtype)[:numel].clone())
    gradient = torch.zeros(400_000) if zero else torch.randn(400_000, generator=draw)
    optimizer = ThermoLion([param], lr=1e-2, seed=3, temp_decay=temp_decay, fused=True)
    for _ in range(3):
        param.grad = gradient.to(dtype)[:numel].clone()
        optimizer.step()
    return param.detach()


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("temp_decay", "zero"), [(1e-3, False), (1.0, True)], ids=["cold", "noise"])
def test_an_element_steps_to_the_bit_wherever_its_tensor_ends(temp_decay, zero, dtype):
    """The mean of v, through which elements know of each other, is zero here or does not count."""
    whole = prefix(400_000, temp_decay, zero, dtype)
    for numel in (1, 7, 127, 129, 1000, 1024, 1025, 2047, 2049, 5000, 299_999):
        assert torch.equal(prefix(numel, temp_decay, zero, dtype), whole[:numel])


@needs_compiler
@pytest.mark.parametrize("temp_decay", [1e-3, 1.0], ids=["cold", "warm"])
def test_the_number_of_threads_changes_no_bit(temp_decay):
    before, ends = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        ends.append(prefix(399_999, temp_decay, zero=False, dtype=torch.float32))
    torch.set_num_threads(before)
    assert torch.equal(*ends)
