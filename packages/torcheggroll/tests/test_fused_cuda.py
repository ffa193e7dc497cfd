"""The Triton kernels against torch ops in Triton's interpreter, and compiled for sm_90; neither needs a device."""

# ruff: noqa: E501

import importlib.util
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")

INTERPRETED = """
import torch
from torch.nn import functional
from torcheggroll._ops import triton_launch
from torcheggroll._ops import fused_cuda
from torcheggroll.noise import fused_cuda as noise, reference
from torcheggroll.noise.counter import starts_of
from torcheggroll.noise.layout import layout, perturbed_shape

triton_launch.usable = lambda tensor: True
triton_launch.has_descriptors = lambda device: True
torch.manual_seed(0)

SIZES = [(6, 10), (6,), (), (5, 3, 2, 2), (40, 50), (1050,)]
SHAPES = tuple(perturbed_shape(size, 3) for size in SIZES)
PAIRS = torch.tensor([4, 0, 2**40])
STARTS, SCALES = starts_of(-3, 5, 8), torch.linspace(0.013, 1.7, len(SHAPES), dtype=torch.float64)
for distribution, per_word in {"gaussian": 4, "uniform": 4, "rademacher": 64}.items():
    for dtype in (torch.float32, torch.float64, torch.float16):
        for mirrored, weights in ((True, None), (False, torch.tensor([0.3, -1.7, 9.1]))):
            row = layout(SHAPES, tuple(range(len(SHAPES))), per_word, mirrored)
            both = []
            for path in (noise, reference):
                out = torch.zeros(len(PAIRS) * (1 + mirrored), row.width, dtype=dtype)
                path.fill(out, row, STARTS, PAIRS, SCALES, weights, mirrored, distribution)
                both.append(torch.cat([out[:, first:last] for first, last in row.columns], 1))
            assert torch.equal(*both), (distribution, dtype, mirrored)

def near(got, want, dtype):
    apart = (got.double() - want.double()).norm() / want.double().norm()
    assert apart < (2e-6 if dtype == torch.float32 else 2e-3), (apart, dtype)

for members, rows, n, m, rank in ((2, 64, 24, 40, 1), (2, 5, 33, 40, 4), (2, 3, 16, 24, 17), (3, 1, 48, 24, 2)):
    for dtype in (torch.float32, torch.float16):  # the interpreter can not multiply bfloat16
        made = lambda *size: torch.randn(*size).to(dtype)
        x, weight, bias, shift = made(members * rows, n), made(m, n) / n**0.5, made(m), made(members, m)
        left = made(members, rank * m + 16)[:, : rank * m].unflatten(1, (rank, m)) / n**0.5  # a slice, as drawn
        right = made(members, rank, n)
        X, W, A, B = x.double().view(members, rows, n), weight.double(), left.double(), right.double()
        base, moved = X @ W.T, bias.double() + shift.double().unsqueeze(1)
        t = fused_cuda.thin(x, False, right)
        near(t.view(members, rows, -1)[..., :rank], X @ B.mT, dtype)
        assert not t.view(members, rows, -1)[..., rank:].any()
        want = base + (X @ B.mT) @ A + moved
        near(fused_cuda.product(x, weight, members, t, left, shift, bias).view_as(want), want, dtype)
        assert fused_cuda._tiled(x, weight, members) == (dtype == torch.float16 and rows % 64 == 0)
        apart = fused_cuda.add(functional.linear(x.float(), weight.float()).to(dtype), False, members, t, left, shift, bias)
        near(apart.view_as(want), want, dtype)
        near(fused_cuda.product(x, weight, members, None, None, shift, None).view_as(want), base + shift.double().unsqueeze(1), dtype)
        one = x[:rows]
        common = fused_cuda.add((one.float() @ weight.float().T).to(dtype), True, members, fused_cuda.thin(one, True, right), left, None, None)
        near(common.view_as(want), X[0] @ W.T + (X[0] @ B.mT) @ A, dtype)

        scale, offset, scales, offsets = made(n), made(n), made(members, n), made(members, n)
        affine = functional.layer_norm(X, (n,)) * (scale + scales).double().unsqueeze(1) + (offset + offsets).double().unsqueeze(1)
        near(fused_cuda.normalized(x, False, members, scale, offset, scales, offsets, 1e-5, True).view_as(X), affine, dtype)
        plain = functional.rms_norm(X[0], (n,), eps=1e-6) * (scale + scales).double().unsqueeze(1)
        near(fused_cuda.normalized(one, True, members, scale, None, scales, None, 1e-6, False).view_as(X), plain, dtype)

        token, table = torch.randint(0, m, (members, rows)), made(members, rank, m)
        own = torch.stack([table[i][:, token[i]].T for i in range(members)]).double()
        near(fused_cuda.embedded(token, False, weight, table, right).view_as(X), W[token] + own @ B, dtype)
        own = table[:, :, token[0]].mT.double()
        near(fused_cuda.embedded(token[0], True, weight, table, right).view_as(X), W[token[0]] + own @ B, dtype)

from torcheggroll._ops.layer import Layer
from torcheggroll.noise.distributions import DISTRIBUTIONS
from torcheggroll.noise.perturbation import Members, Noise
from torcheggroll.noise.undrawn import InKernels, fits

CHOSEN = InKernels()
CHOSEN.choose(0)
for distribution in DISTRIBUTIONS:
    for rows, n, m, rank in ((1, 80, 48, 1), (3, 1104, 1040, 2), (2, 33, 70, 1), (4, 64, 16, 3)):
        members = Members(list(range(2, 8)), True, torch.device("cpu"))
        shape = perturbed_shape((m, n), rank)
        given = 11, members, [shape], 0.07, [torch.float32]
        (delta,), (undrawn,) = (Noise(5, distribution).deltas(*given, *chosen) for chosen in ((), (CHOSEN,)))
        x, weight, bias, shift = torch.randn(6 * rows, n), torch.randn(m, n) / n**0.5, torch.randn(m), torch.randn(6, m)
        source = undrawn.undrawn.take(again=True)
        X, A, B = x.double().view(6, rows, n), delta.left.double(), delta.right.double()
        for b, e in ((bias, shift), (None, None)):
            got = fused_cuda.product_drawn(x, Layer(weight, b, None, None, e, source))
            want = X @ weight.double().T + (X @ B.mT) @ A
            want = want if b is None else want + b.double() + e.double().unsqueeze(1)
            near(got.view_as(want), want, torch.float32)
assert not fits(perturbed_shape((50, 64), 2), torch.float32, members.pairs, True)  # a second column begins within a word
assert not fits(perturbed_shape((48, 64), 2), torch.float32, members.pairs, False)
assert not fits(perturbed_shape((48, 64), 2), torch.float16, members.pairs, True)

from torch import nn
from torcheggroll import TorchEggrollES

def forwards(rows, **settings):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 48), nn.Tanh(), nn.Linear(48, 16))
    es = TorchEggrollES(model, 8, sigma=0.1, rank=2, seed=3, engine="fold", **settings)
    x = torch.randn(8, rows, 64)
    return es, [es.forward(x, per_member=True) for _ in range(3)]

drew, launch = [], triton_launch.launch
triton_launch.launch = lambda kernel, *rest, **constants: (drew.append(kernel.fn.__name__), launch(kernel, *rest, **constants))
es, (first, second, third) = forwards(2, chunk_size=4)
assert torch.equal(first, second) and torch.equal(second, third), "who drew before must not matter"
assert drew.count("thin_drawn_kernel") == 3 * 2 * 2  # forwards, layers, chunks
assert es.model_noise._in_kernels._chosen == {0, 2}
triton_launch.usable = lambda tensor: False
near(forwards(2)[1][0], first, torch.float32)
print("interpreted")
"""

COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from torcheggroll._ops import fused_cuda_kernel as ops
from torcheggroll.noise import fused_cuda_kernel as noise

def compiled(kernel, types, options=None, **constants):
    names = kernel.arg_names
    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in names}
    source = ASTSource(kernel, signature, {(names.index(name),): value for name, value in constants.items()})
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options or {}).asm["ptx"]

for kind in ("bf16", "fp16", "fp32", "fp64"):
    types = dict(out=f"*{kind}", starts="*i64", pairs="*i64", parts="*i64", scales="*fp64", weights="*fp32", quantiles="*fp32")
    for distribution in ("gaussian", "uniform", "rademacher"):
        assert "st.global" in compiled(noise.fill_kernel, types, MIRRORED=True, DISTRIBUTION=distribution, WIDE=kind == "fp64", weights=None)
for kind in ("bf16", "fp16", "fp32"):
    names = "x right t base out left shift bias weight weight_delta bias_delta y".split()
    types = dict.fromkeys(names, f"*{kind}") | {"token": "*i64", "eps": "fp32"}
    low = kind != "fp32"
    assert ("wgmma" in compiled(ops.thin_kernel, types, RANKS=16, BM=64, BK=128, PRECISE="ieee")) == low
    assert ("wgmma" in compiled(ops.add_kernel, types, RANKS=16, BM=64, BN=128, PRECISE="ieee")) == low
    streams = types | {"t": "*fp32", "start": "*i64", "pairs": "*i64", "quantiles": "*fp32", "scale": "*fp64"}
    for distribution in ("gaussian", "uniform", "rademacher"):
        drawn = dict(RANK=2, ROWS=1, BLOCK=1024, DISTRIBUTION=distribution)
        assert "st.global" in compiled(ops.thin_drawn_kernel, streams, **drawn)
        assert "st.global" in compiled(ops.add_drawn_kernel, streams, **drawn)
    assert "st.global" in compiled(ops.norm_kernel, types, CENTERED=True, BLOCK=1024)
    assert "st.global" in compiled(ops.embedding_kernel, types, BLOCK=1024)
    if low:
        for height in (128, 64):
            tiles = {name: f"tensordesc<{kind}[{size}]>" for name, size in (("x", f"{height}, 64"), ("weight", "256, 64"), ("out", f"{height}, 256"))}
            ptx = compiled(ops.product_kernel, types | tiles, {"num_warps": 8, "num_stages": 3}, RANKS=16, BM=height, BN=256, BK=64, GROUP=8)
            assert "wgmma" in ptx and "cp.async.bulk.tensor" in ptx  # tensor cores, fed through descriptors
print("compiled")
"""


def run(script, **environment):
    env = os.environ | environment
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, check=False)
    assert child.returncode == 0, child.stderr
    return child.stdout


def test_the_interpreted_kernels_equal_torch_ops():
    assert "interpreted" in run(INTERPRETED, TRITON_INTERPRET="1", OMP_NUM_THREADS="1")


def test_the_kernels_compile_for_a_gpu_that_is_not_here():
    pytest.importorskip("triton.tools.tensor_descriptor", reason="needs a Triton with tensor descriptors")
    assert "compiled" in run(COMPILED)
