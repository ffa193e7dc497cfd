"""The plugin seeds every test and asks torch for one thread, without importing anything by itself."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

DRAWS = []


@pytest.mark.parametrize("_", range(2))
def test_every_test_starts_from_the_same_seeds(_):
    DRAWS.append((random.random(), float(torch.rand(()))))
    assert DRAWS[0] == DRAWS[-1]


def test_torch_runs_on_one_thread():
    assert torch.get_num_threads() == 1


def test_the_plugin_imports_neither_torch_nor_numpy(tmp_path: Path):
    (tmp_path / "test_light.py").write_text(
        "import sys\n\n\ndef test_light():\n    assert not {'torch', 'numpy'} & sys.modules.keys()\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert run.returncode == 0, run.stdout
    assert "1 passed" in run.stdout
