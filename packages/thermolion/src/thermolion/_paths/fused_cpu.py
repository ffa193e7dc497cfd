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
from thermolion._equations import read_number

SOURCE = Path(__file__).with_name("fused_cpu.cpp")
NOISE = Path(__file__).with_name("fused_cpu_noise.h")
CODES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
FLAGS = ["-O3", "-fopenmp", "-std=c++20", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"]
LEVELS = {"AVX512": ["-march=x86-64-v4", "-mprefer-vector-width=512"], "AVX2": ["-march=x86-64-v3"]}


class Numbers(ctypes.Structure):
    """The C++ struct of the same name."""

    _fields_ = (
        *((name, ctypes.c_double) for name in ("lr", "beta1", "beta2", "weight_decay", "eps")),
        *((name, ctypes.c_uint64) for name in ("seed", "rounding_seed")),
        *((name, ctypes.c_int64) for name in ("maximize", "warm", "stochastic", "skip")),
    )


@lru_cache(maxsize=1)
def kernel() -> Any:
    """Returns the compiled kernel, from the cache of `torch.utils.cpp_extension` or by compiling it now.

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
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                cpp_extension.load(
                    name, [str(SOURCE)], extra_cflags=flags, build_directory=scratch, is_python_module=False
                )
                Path(scratch, library.name).replace(library)
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


def fits(batch: Batch) -> bool:
    """Says whether the kernel takes this batch: whole tensors, noise of our own, float64 with float64 alone."""
    same = (batch.thetas[0].dtype == torch.float64) == (batch.ms[0].dtype == torch.float64)
    return same and not (batch.capturable or (batch.sharded and batch.warm) or batch.group["noise"] == "global")


def step(batch: Batch) -> None:
    """Steps all tensors in one call of the kernel."""
    temperatures = array("d", batch.temperatures)
    c, group, seed = batch.coefficients, batch.group, batch.group["seed"]
    numbers = Numbers(
        read_number(c.lr) if isinstance(c.lr, Tensor) else c.lr, float(c.beta1), float(c.beta2), c.weight_decay, c.eps,
        seed or 0, 0 if seed is None else batch.rounding_seed, group["maximize"], batch.warm,
        group["stochastic_rounding"], group["skip_zero_grad"],
    )  # fmt: skip
    codes = CODES[batch.thetas[0].dtype], CODES[batch.ms[0].dtype]
    with batch.rows() as rows:
        table = _table(rows, batch.steps, batch.indices)
        kernel()(table.buffer_info()[0], temperatures.buffer_info()[0], len(rows), ctypes.byref(numbers), *codes)


def _table(rows: list[tuple[Tensor, ...]], steps: list[int], indices: list[int]) -> "array[int]":
    """Returns the C++ structs of all tensors one after the other, filled field by field."""
    columns = [[tensor.data_ptr() for tensor in column] for column in zip(*rows, strict=True)]
    columns += [[row[0].numel() for row in rows], steps, indices]
    table = array("q", bytes(8 * len(columns) * len(rows)))
    for place, column in enumerate(columns):
        table[place :: len(columns)] = array("q", column)
    return table
