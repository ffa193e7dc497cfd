"""Fused path on the CPU: one C++ kernel over all tensors, compiled on first use and kept."""

import ctypes
import hashlib
import platform
import tempfile
from array import array
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from thermolion._batch import Batch
from thermolion._draws import ROUNDING, Draws
from thermolion._noise import mix
from thermolion._paths.reference import step_reference

SOURCE = Path(__file__).with_name("fused_cpu.cpp")
NOISE = Path(__file__).with_name("fused_cpu_noise.h")
CODES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
FLAGS = ["-O3", "-fopenmp", "-std=c++20", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"]
LEVELS = {"AVX512": ["-march=x86-64-v4", "-mprefer-vector-width=512"], "AVX2": ["-march=x86-64-v3"]}


class Numbers(ctypes.Structure):
    """The kernel's struct of the same name."""

    _fields_ = (
        *((name, ctypes.c_double) for name in ("lr", "beta1", "beta2", "weight_decay", "eps")),
        *((name, ctypes.c_uint64) for name in ("seed", "rounding_seed")),
        *((name, ctypes.c_int64) for name in ("maximize", "warm", "stochastic")),
    )


@lru_cache(maxsize=1)
def kernel() -> Any:
    """Return the compiled kernel, from the cache of `torch.utils.cpp_extension` or by compiling it now.

    Raises:
        RuntimeError: there is no compiler or no ninja, or compiling fails.
    """
    flags = FLAGS + LEVELS.get(torch.backends.cpu.get_cpu_capability(), [])
    texts = (path.read_text(encoding="utf-8") for path in (SOURCE, NOISE))
    tag = "\n".join([*texts, *flags, torch.__version__, platform.machine()])
    name = f"thermolion_{hashlib.sha256(tag.encode()).hexdigest()[:16]}"
    try:
        from torch.utils import cpp_extension as extension

        cpp_extension: Any = extension
        folder = Path(cpp_extension._get_build_directory(name, verbose=False))
        library = folder / f"{name}.so"
        if not library.exists():
            # Torch's own lock outlives a build that was killed, so each build has a folder of its own.
            with tempfile.TemporaryDirectory(dir=folder) as work:
                cpp_extension.load(
                    name, [str(SOURCE)], extra_cflags=flags, build_directory=work, is_python_module=False
                )
                Path(work, library.name).replace(library)
        step = ctypes.CDLL(str(library)).thermolion_step
    except Exception as error:
        raise RuntimeError(
            "fused=True on the CPU compiles a C++ kernel on first use, which needs a C++ compiler, ninja and "
            f"setuptools; compiling failed here: {error}\n"
            "Install a compiler and `pip install 'thermolion[fused]'`, or leave fused=None"
        ) from error
    step.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    step.restype = None
    return step


def fits(work: Batch) -> bool:
    """Say whether the kernel can take this work at all; it takes tensors whose memory lies in logical order."""
    wide = work.thetas[0].dtype == torch.float64
    same = wide == (work.ms[0].dtype == torch.float64)
    return not (work.capturable or (work.sharded and work.warm) or work.group["noise"] == "global") and same


def step_fused_cpu(work: Batch) -> None:
    """Step all tensors of ``work`` in one call; what lies otherwise in memory is copied for it."""
    run = kernel()
    if not fits(work):
        step_reference(work, Draws(work))
        return
    rows = array("q")
    held: list[Tensor] = []  # converted gradients live until the kernel has run
    copied: list[tuple[Tensor, Tensor]] = []
    dtype = work.thetas[0].dtype
    lists = zip(work.thetas, work.grads, work.ms, work.vs, work.v_means, work.steps, work.indices, strict=True)
    for theta, g, m, v, v_mean, step, index in lists:
        if not (theta.is_contiguous() and m.is_contiguous() and v.is_contiguous()):
            kept = (theta, m, v)
            theta, m, v = (tensor.clone(memory_format=torch.contiguous_format) for tensor in kept)
            copied.extend(zip(kept, (theta, m, v), strict=True))
        if g.dtype != dtype or not g.is_contiguous() or g.is_neg():
            g = g.to(dtype).resolve_neg().contiguous()
            held.append(g)
        addresses = (theta.data_ptr(), g.data_ptr(), m.data_ptr(), v.data_ptr(), v_mean.data_ptr())
        rows.extend((*addresses, theta.numel(), step, index))
    temperatures = array("d", work.temperatures)
    codes = CODES[dtype], CODES[work.ms[0].dtype]
    numbers = ctypes.byref(_numbers(work))
    run(rows.buffer_info()[0], temperatures.buffer_info()[0], len(temperatures), numbers, *codes)
    for kept_tensor, stepped in copied:
        kept_tensor.copy_(stepped)


def _numbers(work: Batch) -> Numbers:
    c, group = work.coefficients, work.group
    seed = group["seed"] or 0
    return Numbers(
        _number(c.lr), float(c.beta1), float(c.beta2), c.weight_decay, c.eps,
        seed, mix(seed ^ ROUNDING), group["maximize"], work.warm, group["stochastic_rounding"],
    )  # fmt: skip


def _number(lr: float | Tensor) -> float:
    """Return the learning rate; one that is a tensor lies in the host's memory already, and is read there."""
    if not isinstance(lr, Tensor):
        return lr
    lr = lr.detach().to(torch.float64)
    return ctypes.c_double.from_address(lr.data_ptr()).value
