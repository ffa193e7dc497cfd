import shutil
from pathlib import Path

import pytest
from thermolion._paths import fused_cpu


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
