"""The Triton kernels against the reference path, in Triton's interpreter: it runs on the CPU, in its own process."""

import os
import subprocess
import sys

import pytest
import torch
from thermolion._paths import choose, fused_cuda

SCRIPT = """
import math
import torch
from thermolion import ThermoLion
from thermolion._paths import choose
from thermolion._paths import fused_cuda
from torch.nn import Parameter

choose.fused_cpu = fused_cuda
fused_cuda.kernel = lambda: None
SETTINGS = [
    {},
    {"temp_decay": 1e-3, "weight_decay": 0.3},
    {"maximize": True, "betas": (0.0, 0.5)},
    {"lr": torch.tensor(0.02), "temp_decay": 1.0, "seed": (1 << 64) - 1},
    {"capturable": True, "temp_decay": 0.2},
]

def run(dtype, fused, settings):
    draw = torch.Generator().manual_seed(0)
    sizes = [(3,), (4, 5), (), (0,), (1024,), (1025,), (2049,), (70, 60)]
    params = [Parameter(torch.randn(s, generator=draw).to(dtype)) for s in sizes]
    params.append(Parameter(torch.randn(6, 8, generator=draw).to(dtype)[:, ::2]))
    params.append(Parameter(torch.randn(2, 3, 4, 5, generator=draw).to(dtype, memory_format=torch.channels_last)))
    optimizer = ThermoLion(params, fused=fused, foreach=False, **{"lr": 1e-2, "seed": 3, **settings})
    for step in range(3):
        for place, p in enumerate(params):
            noise = torch.randn(p.shape, generator=draw).to(dtype)
            p.grad = None if (step + place) % 5 == 4 else noise
        optimizer.step()
    return params, [s[n] for s in optimizer.state.values() for n in ("m", "v", "v_mean")]

CASES = [(torch.float32, settings) for settings in SETTINGS]
CASES += [(torch.float64, {}), (torch.float64, {"maximize": True}), (torch.float16, {}), (torch.bfloat16, {})]
CASES += [(torch.bfloat16, {"state_dtype": torch.float32, "stochastic_rounding": True})]
for dtype, settings in CASES:
    for ours, theirs in zip(run(dtype, True, settings), run(dtype, False, settings)):
        if dtype == torch.bfloat16 and not settings:  # the interpreter cuts off where a GPU rounds
            torch.testing.assert_close(ours, theirs, rtol=0.03, atol=0.05)
        elif dtype in (torch.bfloat16, torch.float16):  # a sign may turn where a stored moment rounds the other way
            apart = torch.cat([(a - b).abs().float().reshape(-1) for a, b in zip(ours, theirs)])
            share = (apart > 0.004).float().mean().item()
            assert share < 0.002, (dtype, settings, share)
        else:
            torch.testing.assert_close(ours, theirs, rtol=3e-6, atol=3e-6)

for bad in (math.nan, math.inf, -math.inf, 1e30):
    both = []
    for fused in (True, False):
        param = Parameter(torch.ones(3000))
        optimizer = ThermoLion([param], seed=1, fused=fused, foreach=False)
        for _ in range(2):
            param.grad = torch.full((3000,), 0.5)
            param.grad[7] = bad
            optimizer.step()
        others = torch.arange(3000) != 7
        assert param[others].isfinite().all()
        both.append(torch.cat([param[others], optimizer.state[param]["v_mean"].view(1)]))
    torch.testing.assert_close(*both)
print("interpreted")
"""


COMPILE = """
import sys
import triton
from thermolion._paths import fused_cuda_kernel as kernels
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

def compile(kernel, types, **constants):
    names = kernel.arg_names
    signature = {name: types.get(name, "constexpr") for name in names}
    constants = {(place,): constants[name] for place, name in enumerate(names) if name in constants}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    assert triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]

dtype = sys.argv[1]
real = "*fp64" if dtype == "fp64" else "*fp32"
table = {"table": "*i64", "blocks": "*i64", "numbers": "*fp64", "temperatures": "*fp64", "partials": real,
         "sigmas": real, "keys": "*i32", "rounding": "*i32", "eta_at": "*fp32"}

def types(*names):
    return {name: table[name] for name in names}

compile(kernels.sum_kernel, types("table", "blocks", "partials"), DTYPE=dtype)
names = ("table", "numbers", "partials", "temperatures", "sigmas")
compile(kernels.carry_kernel, types(*names), DTYPE=dtype)
settings = {"MAXIMIZE": True, "DTYPE": dtype, "STATE": dtype}
names = ("table", "numbers", "blocks")
cold = {"keys": None, "sigmas": None, "rounding": None, "eta_at": None}
compile(kernels.step_kernel, types(*names), WARM=False, STOCHASTIC=False, **cold, **settings)
stochastic = {"STOCHASTIC": dtype == "bf16"}
warm = types(*names, "keys", "sigmas", "rounding", "eta_at")
compile(kernels.step_kernel, warm, WARM=True, **stochastic, **settings)
"""


def test_it_computes_what_the_reference_computes():
    pytest.importorskip("triton", reason="needs Triton, which comes with torch's CUDA builds")
    pytest.importorskip("numpy", reason="Triton's interpreter needs numpy")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "interpreted\n"


def test_the_kernels_hold_the_noise_s_own_numbers():
    pytest.importorskip("triton", reason="needs Triton, which comes with torch's CUDA builds")
    from thermolion import _noise
    from thermolion._paths import fused_cuda_kernel

    assert fused_cuda_kernel.COSINE == _noise.COSINE
    assert fused_cuda_kernel.SINE == _noise.SINE


def test_without_triton_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setattr(fused_cuda, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=r"needs Triton.*leave fused=None"):
        fused_cuda.refuse_without_triton()


def test_devices_without_a_kernel_are_refused_by_name():
    with pytest.raises(RuntimeError, match=r"supported devices: \['cpu', 'cuda'\].*meta"):
        choose.refuse_fused(torch.empty(3, device="meta"))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["fp32", "fp64", "bf16", "fp16"])
def test_the_kernels_compile_for_a_gpu_that_is_not_here(dtype):
    pytest.importorskip("triton", minversion="3.3", reason="needs Triton 3.3's compiler interface")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMPILE, dtype], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
