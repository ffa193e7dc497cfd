"""Peak memory, measured in two ways: resident memory of a child process, and requests to torch's allocator.

`peak_rss_mb` is the number for the bars: a fresh child builds the objects, resets its high-water mark, runs, and
reports how far the mark rose. `peak_allocated_mb` counts torch allocations in this process: exact and repeatable,
blind to what other libraries take.
"""

import gc
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

CHILDREN = 3


def peak_rss_mb(prepare: Callable[..., Callable[[], None]], *args: Any) -> float:
    """Megabytes by which a child's resident memory peaks above where it stood after ``prepare(*args)``.

    The least of three children's: pages of libraries that the system had dropped come back in and count as well.

    ``prepare`` is a function of a module's top level (the child imports it by name); it builds the model and what
    else is not to be counted, and returns the call to be measured. One torch thread; Linux only.

    Raises:
        RuntimeError: the platform keeps no resettable high-water mark.
        BrokenProcessPool: the child died, or cannot import ``prepare``.
    """
    if not Path("/proc/self/clear_refs").exists():
        raise RuntimeError("peak_rss_mb needs Linux's /proc/self/clear_refs; use peak_allocated_mb here")
    return min(_in_a_fresh_child(prepare, args) for _ in range(CHILDREN))


def _in_a_fresh_child(prepare: Callable[..., Callable[[], None]], args: tuple[Any, ...]) -> float:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as child:
        return child.submit(_measure_in_child, prepare, args).result()


def _measure_in_child(prepare: Callable[..., Callable[[], None]], args: tuple[Any, ...]) -> float:
    torch.set_num_threads(1)
    call = prepare(*args)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # 5 sets the high-water mark to what is held now
    before = _status_mb("VmRSS")
    call()
    return max(0.0, _status_mb("VmHWM") - before)


def _status_mb(field: str) -> float:
    """A line of /proc/self/status, given there in kB, in units of 10⁶ bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"/proc/self/status has no {field}")


def peak_allocated_mb(call: Callable[[], None], device: str = "cpu") -> float:
    """Megabytes of torch allocations alive at the worst moment of ``call``, above those alive before it."""
    if device == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    alive = peak = 0
    for size in _allocation_sizes(profile):
        alive += size
        peak = max(peak, alive)
    return peak / 1e6


def _allocation_sizes(profile: Any) -> list[int]:
    """Bytes taken (positive) and given back (negative), in the order they happened."""
    results = profile.profiler.kineto_results
    moments = [(event.start_ns(), event.nbytes()) for event in results.events() if event.name() == "[memory]"]
    return [size for _, size in sorted(moments, key=lambda moment: moment[0])]
