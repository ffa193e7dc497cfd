"""C++ kernels, compiled on first use and cached, and the fallback without a compiler."""

import ctypes
import hashlib
import os
import platform
import re
import subprocess
import tempfile
import warnings
from functools import lru_cache
from pathlib import Path

import torch

FLAGS = ("-O3", "-shared", "-fPIC", "-std=c++17", "-fno-math-errno", "-fno-trapping-math")
LEVELS = {"AVX512": ("-march=x86-64-v4", "-mprefer-vector-width=512"), "AVX2": ("-march=x86-64-v3",)}


@lru_cache(maxsize=8)
def library(source: Path) -> ctypes.CDLL | None:
    """Loads the kernels of one C++ file, compiled for the instruction set that torch uses.

    They are kept in the user's cache (``TORCH_EXTENSIONS_DIR`` or ``XDG_CACHE_HOME`` name another folder); processes
    that compile at the same time do not disturb each other, since a finished library replaces another in one move.

    Args:
        source: the C++ file.

    Returns:
        The library, or None where there is no compiler: torch ops then do the same work, and a warning says so.
    """
    try:
        return _loaded(source)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # RuntimeError: no home directory
        said = str(getattr(error, "stderr", "") or error).strip().splitlines()
        reason = next((line for line in said if "error" in line), said[-1] if said else type(error).__name__)
        _say(reason)
        return None


@lru_cache(maxsize=8)
def _say(reason: str) -> None:
    """Warns once of a reason, however many libraries it concerns."""
    warnings.warn(
        f"torcheggroll compiles its CPU kernels on first use, and could not: {reason}; torch ops do the same work "
        "more slowly. Install a C++ compiler, or name one in the environment variable CXX",
        stacklevel=3,
    )


def _loaded(source: Path) -> ctypes.CDLL:
    level = LEVELS.get(torch.backends.cpu.get_cpu_capability(), ())
    text = _with_headers(source)
    tag = hashlib.sha256("\n".join([text, *FLAGS, *level, platform.machine()]).encode()).hexdigest()[:16]
    kept = _cache() / "torcheggroll" / f"{source.parent.name.strip('_')}_{source.stem}_{tag}.so"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
            made = Path(scratch, kept.name)
            _compile([*FLAGS, *level, str(source), "-o", str(made)])
            made.replace(kept)
    return ctypes.CDLL(str(kept))


def _with_headers(source: Path) -> str:
    """Returns the text of a C++ file, and of the headers beside it that it includes."""
    text = source.read_text(encoding="utf-8")
    return "\n".join([text, *(_with_headers(source.parent / name) for name in re.findall(r'#include "(.+)"', text))])


def _cache() -> Path:
    given = os.environ.get("TORCH_EXTENSIONS_DIR") or os.environ.get("XDG_CACHE_HOME")
    return Path(given) if given else Path.home() / ".cache"


def _compile(arguments: list[str]) -> None:
    """Runs the compiler, with OpenMP where it has it."""
    compiler = os.environ.get("CXX") or "c++"
    try:
        subprocess.run([compiler, "-fopenmp", *arguments], check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError:
        subprocess.run([compiler, *arguments], check=True, capture_output=True, text=True)
