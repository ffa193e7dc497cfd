"""Builds the C++ kernel once per machine; later processes load it from the cache."""

import hashlib
import os
import platform
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

SOURCE = Path(__file__).with_name("fused_cpu.cpp")
VECTORS = {
    "AVX2": ["-mavx2", "-mfma", "-mf16c"],
    "AVX512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mf16c"],
}


@lru_cache(maxsize=1)
def load_kernel() -> None:
    """Makes ``torch.ops.rangerlite.step_`` callable, compiling it where no earlier process has.

    The compiled file lies under ``TORCH_EXTENSIONS_DIR``, or the user's cache directory, in a folder named after the
    source, the flags and the torch release.

    Raises:
        RuntimeError: there is no C++ compiler, no ninja or no setuptools, or compiling failed.
    """
    flags = _flags()
    key = hashlib.sha256("\n".join([SOURCE.read_text(encoding="utf-8"), *flags, torch.__version__]).encode())
    built = _cache() / f"rangerlite-{key.hexdigest()[:16]}" / "rangerlite_fused.so"
    if not built.exists():
        _compile(built, flags)
    operators: Any = torch.ops
    operators.load_library(str(built))


def _flags() -> list[str]:
    """Returns the compiler's flags: NaN must pass through, so none that assumes there is no NaN."""
    if platform.system() == "Windows":
        return ["/O2", "/openmp"]
    flags = ["-O3", "-fno-math-errno", "-fno-trapping-math"]
    if platform.system() == "Linux":
        flags.append("-fopenmp")  # compiled in, not linked: torch's own runtime serves
    if platform.machine() in ("x86_64", "AMD64"):
        flags += VECTORS.get(torch.backends.cpu.get_cpu_capability(), [])
    return flags


def _cache() -> Path:
    chosen = os.environ.get("TORCH_EXTENSIONS_DIR")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rangerlite"


def _compile(built: Path, flags: list[str]) -> None:
    """Compiles in a separate folder and moves the result, so that concurrent builds do not conflict."""
    work = Path()
    try:
        built.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=built.parent))
        from torch.utils import cpp_extension  # needs setuptools

        compiler: Any = cpp_extension
        compiler.verify_ninja_availability()
        compiler.load(
            built.stem, [str(SOURCE)], extra_cflags=flags, build_directory=str(work), is_python_module=False,
            with_cuda=False,
        )  # fmt: skip
        next(path for path in work.iterdir() if path.suffix in (".so", ".pyd", ".dylib")).replace(built)
    except Exception as error:
        raise RuntimeError(
            "fused=True on the CPU compiles a small C++ kernel on first use, which needs a C++ compiler, ninja and "
            f"setuptools, but: {error}; install them (pip install 'ranger-lite[fused]' brings the last two), or leave "
            "fused=None, which needs none of them and computes the same"
        ) from error
    finally:
        if work != Path():
            shutil.rmtree(work, ignore_errors=True)
