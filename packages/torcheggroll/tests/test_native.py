"""C++ kernels where there is no compiler, a broken one, and two processes that compile at once."""

import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional
from torcheggroll import TorchEggrollES
from torcheggroll._ops import fused_cpu as products
from torcheggroll._ops import linear, native
from torcheggroll.noise import fused_cpu as noise


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """Forgets the kernels before and after, and keeps new ones in a folder of its own; gives what forgets them."""
    caches = native.library, native._say, noise.kernel, products.kernels
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))

    def forget():
        for cache in caches:
            cache.cache_clear()

    forget()
    yield forget
    forget()


def trained():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 3))
    es = TorchEggrollES(model, 8, rank=2, seed=3, engine="fold")
    es.step(torch.randn(5, 20), functional.cross_entropy, torch.arange(5) % 3)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_without_a_compiler_torch_ops_do_the_same_and_one_warning_says_so(fresh, monkeypatch):
    usual = trained()
    fresh()
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(native._cache() / "empty"))
    with pytest.warns(UserWarning, match="compiles its CPU kernels on first use.*CXX") as said:
        slow = trained()
    assert len(said) == 1
    torch.testing.assert_close(usual, slow, rtol=1e-5, atol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(slow, trained())


def test_a_compiler_that_fails_is_quoted(fresh, tmp_path):
    fresh()
    source = tmp_path / "broken.cpp"
    source.write_text("int f( {")
    with pytest.warns(UserWarning, match="could not: .*error"):
        assert native.library(source) is None


def test_processes_that_compile_at_once_all_get_a_library(tmp_path):
    script = "from torcheggroll.noise import fused_cpu; assert fused_cpu.kernel() is not None"
    env = {"PATH": "/usr/bin:/bin", "TORCH_EXTENSIONS_DIR": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    if noise.kernel() is None:
        pytest.skip("no C++ compiler here")
    children = [subprocess.Popen([sys.executable, "-c", script], env=env) for _ in range(2)]
    assert [child.wait(300) for child in children] == [0, 0]
    assert len(list((tmp_path / "torcheggroll").glob("*"))) == 1


@pytest.mark.skipif(products.kernels() is None, reason="needs a C++ compiler")
def test_the_products_refuse_what_another_dtype_would_read_beyond_its_end():
    x, left, right = torch.randn(6, 8), torch.randn(2, 1, 5), torch.randn(2, 1, 8)
    weight, bias = torch.randn(5, 8), torch.randn(5)
    assert products.fits(x, left, right, weight, bias)
    assert not products.fits(x, left, right, weight, bias.bfloat16())
    assert not products.fits(x, left, right, weight.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert not products.fits(x, left, right, weight, bias)


def test_a_linear_layer_under_autocast_is_that_of_torch_ops():
    torch.manual_seed(0)
    x, weight, bias = torch.randn(6, 8), torch.randn(5, 8), torch.randn(5)
    left, right = torch.randn(2, 1, 5), torch.randn(2, 1, 8)
    with torch.autocast("cpu", torch.bfloat16):
        got = linear.linear(x, True, weight, bias, left, right, None)
    want = torch.stack([x @ (weight + left[i].T @ right[i]).T + bias for i in range(2)])
    assert torch.allclose(got.float(), want, atol=0.2, rtol=0.05)


def test_another_header_makes_another_library(fresh, tmp_path):
    source, header = tmp_path / "answer.cpp", tmp_path / "answer.h"
    source.write_text('#include "answer.h"\nextern "C" int answer() { return ANSWER; }\n')
    for answer in (41, 42):
        fresh()
        header.write_text(f"#define ANSWER {answer}\n")
        assert native.library(source).answer() == answer
