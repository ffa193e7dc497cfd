"""The Triton kernels against the reference path, in Triton's interpreter: it runs on the CPU, in its own process."""

import os
import subprocess
import sys
from collections import Counter, defaultdict

import pytest
import torch
from thermolion import ThermoLion
from thermolion._paths import choose, fused_cuda
from torch.nn import Parameter
from torch.utils._python_dispatch import TorchDispatchMode

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
    {"skip_zero_grad": True},
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
            p.grad = None if (step + place) % 5 == 4 else noise * (noise.abs() > 0.3)
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
    built = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8})
    assert built.asm["ptx"]
    return built.asm["ptx"]

dtype = sys.argv[1]
real = "*fp64" if dtype == "fp64" else "*fp32"
table = {"table": "*i64", "blocks": "*i64", "numbers": "*fp64", "words": "*i64", "partials": real,
         "sigmas": real, "keys": "*i32", "count": "i32", "eta_at": "*fp32"}

def types(*names):
    return {name: table[name] for name in names}

for aligned in (False, True):
    common = {"DTYPE": dtype, "CAPTURABLE": aligned}
    compile(kernels.sum_kernel, types("table", "blocks", "partials"), ALIGNED=aligned, **common)
    names = ("table", "words", "numbers", "partials", "sigmas", "keys", "count")
    compile(kernels.carry_kernel, types(*names), **common)
    settings = {"MAXIMIZE": True, "SKIP": aligned, "STATE": dtype, "ALIGNED": aligned, **common}
    names = ("table", "words", "numbers", "blocks")
    cold = {"keys": None, "sigmas": None, "eta_at": None}
    compile(kernels.step_kernel, types(*names), WARM=False, STOCHASTIC=False, **cold, **settings)
    stochastic = {"STOCHASTIC": dtype == "bf16"}
    warm = types(*names, "keys", "sigmas", "eta_at")
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


class Operations(TorchDispatchMode):
    """Counts what torch is asked to do, and the bytes of new tensors."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = str(function)
        if "empty" in name:
            self.seen["bytes"] += result.numel() * result.element_size()
        elif "detach" not in name and "view" not in name and "lift_fresh" not in name:  # what moves no data
            self.seen[name] += 1
        return result


@pytest.fixture
def seen(monkeypatch):
    """Counts launches and torch's operations of the path that CUDA takes, with kernels that do nothing."""
    seen = Counter()

    class Kernels:
        def __getattr__(self, name):
            seen[name] += 1
            return defaultdict(lambda: lambda *args, **settings: None)

    plain = fused_cuda.step

    def step(batch):
        with Operations(seen):
            plain(batch)

    monkeypatch.setattr(fused_cuda, "_kernels", lambda kernels=Kernels(): kernels)  # noqa: B008
    monkeypatch.setattr(fused_cuda, "step", step)
    monkeypatch.setattr(choose, "choose_path", lambda batch: step)
    return seen


THREE = {"sum_kernel": 1, "carry_kernel": 1, "step_kernel": 1}
KINDS = {
    "cold": ({"temp_decay": 1e-3}, {"step_kernel": 1}),
    "warm": ({"temp_decay": 1.0}, THREE),
    "capturable": ({"capturable": True}, THREE),
    "stochastic and cold": ({"temp_decay": 1e-3, "stochastic_rounding": True}, {"step_kernel": 1}),
}


@pytest.mark.parametrize("count", [1, 5, 1000])
@pytest.mark.parametrize(("settings", "launches"), KINDS.values(), ids=KINDS)
def test_a_step_is_one_launch_while_cold_and_three_while_warm(seen, count, settings, launches):
    params = [Parameter(torch.ones(3000 if i == 0 else 2)) for i in range(count)]
    optimizer = ThermoLion(params, seed=1, **settings)
    for t in range(4):
        for param in params:
            param.grad = torch.ones_like(param)
        seen.clear()
        optimizer.step()
        if not t:
            continue  # which numbers the programs, once
        temporaries = seen.pop("bytes", 0)
        assert seen == launches
        partials, keys_and_scales = 4 * (count + 1), 20 * count
        assert temporaries == (partials + keys_and_scales if len(launches) == 3 else 0)


@pytest.mark.parametrize(("settings", "launches"), KINDS.values(), ids=KINDS)
def test_the_table_is_sent_again_only_when_something_has_moved(seen, settings, launches):
    params = [Parameter(torch.ones(3000)) for _ in range(5)]
    optimizer = ThermoLion(params, seed=1, **settings)
    sent = []
    for moved in (True, False, False, True, False):
        for param in params:
            param.grad = param.grad.clone() if moved and param.grad is not None else torch.ones_like(param)
        held = [param.grad for param in params]
        for t in range(2):
            optimizer.step()
            tables = optimizer._plans[0]._memories[0]["tables"]
            sent.append((tables._rows._device, tables._numbers._device))
            assert t == 0 or sent[-1][0] is sent[-2][0]
            if t and settings == KINDS["warm"][0]:
                assert sent[-1][1] is not sent[-2][1], "the count of steps"
            elif t and not settings.get("stochastic_rounding"):
                assert sent[-1][1] is sent[-2][1]
        for param, g in zip(params, held, strict=True):
            param.grad = g
    assert sent[0][0] is not sent[-1][0]


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
