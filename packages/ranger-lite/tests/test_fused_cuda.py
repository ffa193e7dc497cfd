"""The Triton kernel against the reference path, in Triton's interpreter: it runs on the CPU, in its own process."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="needs Triton, which comes with torch's CUDA builds")
pytest.importorskip("numpy", reason="Triton's interpreter needs numpy")

SCRIPT = """
import sys
import torch
from rangerlite import RangerLite
from rangerlite._paths import choose
from rangerlite._paths.address_table import AddressTables
from rangerlite._paths.fused_cuda import step_on_cuda

SETTINGS = [
    {},
    {"weight_decay": 0.1, "lookahead_momentum": "reset"},
    {"weight_decay": 0.1, "decoupled_weight_decay": False, "maximize": True, "lookahead_alpha": 1.0},
    {"lookahead_momentum": "pullback", "betas": (0.3, 0.5), "lookahead_alpha": 0.0},
    {"lr": torch.tensor(0.01, dtype=torch.float64), "betas": (0.0, 0.999), "lookahead_steps": 1},
]

ODD = [(3,), (4, 5), (), (0,), (1500,)]
EVEN = [(16,), (8, 5), (4096,), (1032,)]  # whole vectors of 16 bytes

def run(dtype, fused, settings, shapes):
    draw = torch.Generator().manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(s, generator=draw).to(dtype)) for s in shapes]
    if shapes is ODD:
        params.append(torch.nn.Parameter(torch.randn(6, 8, generator=draw).to(dtype)[:, ::2]))
    optimizer = RangerLite(params, fused=fused, **{"lookahead_steps": 3, **settings})
    for step in range(8):
        for place, p in enumerate(params):
            noise = torch.randn(p.shape, generator=draw).to(dtype)
            p.grad = None if (step + place) % 5 == 4 else noise
        optimizer.step()
    return params, [x for state in optimizer.state.values() for x in state.values()]

def kernel(batch, radam, lookahead, scaling):
    return step_on_cuda(batch, radam, lookahead, scaling, tables, False)

tables = AddressTables()
choose.step_on_cpu = kernel
for dtype in (torch.float32, torch.float64, torch.bfloat16):
    for settings in SETTINGS:
        tolerance = dict(rtol=0.05, atol=0.02) if dtype == torch.bfloat16 else {}
        for shapes in (ODD, EVEN):
            for ours, theirs in zip(run(dtype, True, settings, shapes), run(dtype, None, settings, shapes)):
                torch.testing.assert_close(ours, theirs, **tolerance)
assert {table.vector for table in tables._tables.values()} == {1, 2, 4, 8}

p = torch.nn.Parameter(torch.ones(5))
optimizer = RangerLite([p], fused=True)
p.grad = torch.full((5,), 8.0)
optimizer.grad_scale, optimizer.found_inf = torch.tensor(8.0), torch.tensor(0.0)
optimizer.step()
q = torch.nn.Parameter(torch.ones(5))
q.grad = torch.ones(5)
RangerLite([q]).step()
torch.testing.assert_close(p, q)
kept = [p.detach().clone(), *(x.clone() for x in optimizer.state[p].values())]
optimizer.found_inf = torch.tensor(1.0)
optimizer.step()
assert all(map(torch.equal, [p, *optimizer.state[p].values()], kept))

p = torch.nn.Parameter(torch.randn(6, 8)[:, ::2])  # gaps: not for the kernel
q = torch.nn.Parameter(p.detach().clone())
one, two = RangerLite([p, torch.nn.Parameter(torch.ones(3))], fused=True), RangerLite([q])
for _ in range(7):
    for x in (p, q, one.param_groups[0]["params"][1]):
        x.grad = torch.ones_like(x)
    one.step()
    two.step()
torch.testing.assert_close(p, q)

# one that is not finite leaves with the momentum that is reset, and nowhere else
p = torch.nn.Parameter(torch.ones(9))
optimizer = RangerLite([p], fused=True, lookahead_steps=2, lookahead_momentum="reset")
for bad in (float("nan"), 1.0):
    p.grad = torch.ones(9)
    p.grad[4] = bad
    optimizer.step()
assert torch.equal(optimizer.state[p]["exp_avg"], torch.zeros(9))
assert p[:4].isfinite().all() and p[5:].isfinite().all()
print("interpreted", "autotune" in open(choose.__file__.replace("choose.py", "fused_cuda_kernel.py")).read())
"""


def test_it_computes_what_the_reference_computes_and_is_never_tuned_in_place():
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "interpreted False\n"


COMPILE = """
import sys
import triton
from rangerlite._paths.fused_cuda_kernel import step_kernel
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

dtype = sys.argv[1]
NUMBERS = "k eta beta1 beta2 epsilon weight_decay alpha log_beta1 log_beta2".split()
TYPES = {"table": "*i64", "blocks": "*i32", "arrived": "*i32"} | dict.fromkeys(NUMBERS, "i64")
POINTERS = {"eta_at": "*fp32", "scale_at": "*fp32", "found_at": "*fp32"}

VECTOR = {"fp64": 2, "fp32": 4, "bf16": 8, "fp16": 8}

def compile(types, **constants):
    names = step_kernel.arg_names
    signature = {name: types.get(name, "constexpr") for name in names}
    constants = {(place,): constants[name] for place, name in enumerate(names) if name in constants}
    source = ASTSource(fn=step_kernel, signature=signature, constexprs=constants)
    assert "st.global" in triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]

for momentum in range(3):
    for plain in (True, False):
        settings = dict(BLOCK=1024, VECTOR=VECTOR[dtype] if plain else 1, MOMENTUM=momentum, MAXIMIZE=not plain)
        settings |= dict(DECOUPLED=plain, DTYPE=dtype, STEP_DTYPE="fp32")
        compile(TYPES if plain else TYPES | POINTERS, **settings, **(dict.fromkeys(POINTERS) if plain else {}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["fp32", "fp64", "bf16", "fp16"])
def test_the_kernel_compiles_for_a_gpu_that_is_not_here(dtype):
    pytest.importorskip("triton", minversion="3.3", reason="needs Triton 3.3's compiler interface")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMPILE, dtype], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
