"""RangerLite beside torch's AdamW and RAdam, averaged over whole cycles of k steps."""

from collections.abc import Callable
from functools import partial

import torch
from rangerlite import RangerLite
from torch import nn
from torch.optim import Optimizer

from bench.speed.measure import Bar, NumberCase, SpeedCase, torch_threads
from bench.speed.memory import peak_allocated_mb

K = 6  # the default lookahead_steps; one call takes K steps, so that every call holds one pull back
REFERENCE = "torch AdamW fused"
GPT2 = [
    (50257, 768), (1024, 768), (768,), (768,),
    *[(768,), (768,), (2304, 768), (2304,), (768, 768), (768,)] * 12,
    *[(768,), (768,), (3072, 768), (3072,), (768, 3072), (768,)] * 12,
]  # fmt: skip


def mid_size(device: str) -> list[nn.Parameter]:
    """Returns 200 tensors with 10 M elements in all."""
    return _filled([(50000,)] * 200, device)


def tiny(device: str) -> list[nn.Parameter]:
    """Returns 1,000 tensors with 99,000 elements in all."""
    return _filled([(99,)] * 1000, device)


def one_large(device: str) -> list[nn.Parameter]:
    """Returns one tensor with 10 M elements."""
    return _filled([(10_000_000,)], device)


def gpt2(device: str) -> list[nn.Parameter]:
    """Returns GPT-2's 148 tensors with 124 M elements in all."""
    return _filled(GPT2, device)


def _filled(shapes: list[tuple[int, ...]], device: str) -> list[nn.Parameter]:
    draw = torch.Generator(device).manual_seed(0)
    params = [nn.Parameter(torch.randn(shape, device=device, generator=draw)) for shape in shapes]
    for p in params:
        p.grad = torch.randn(p.shape, device=device, generator=draw)
    return params


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    REFERENCE: partial(torch.optim.AdamW, fused=True),
    "torch RAdam": torch.optim.RAdam,
    "RangerLite": RangerLite,
    "RangerLite foreach": partial(RangerLite, foreach=True),
    "RangerLite reference": partial(RangerLite, foreach=False),
    "RangerLite fused": partial(RangerLite, fused=True),
}


def _cycle(optimizer: Optimizer) -> None:
    for _ in range(K):
        optimizer.step()


def candidates(params: Callable[[str], list[nn.Parameter]], device: str) -> dict[str, Callable[[], None]]:
    """Returns a call of K steps for each optimizer that can run here, past RAdam's unrectified first steps."""
    found: dict[str, Callable[[], None]] = {}
    for name, make in OPTIMIZERS.items():
        optimizer = make(params(device), lr=1e-6)
        try:
            _cycle(optimizer)
        except RuntimeError as error:
            if "compiles a small C++ kernel" not in str(error):
                raise
            continue
        found[name] = partial(_cycle, optimizer)
    return found


def state_tensors(device: str) -> dict[str, float]:
    """Returns how many tensors as large as the parameter each optimizer keeps for it."""
    return {name: float(_large_states(make, device)) for name, make in OPTIMIZERS.items() if "RangerLite" in name}


def _large_states(make: Callable[..., Optimizer], device: str) -> int:
    p = _filled([(10,)], device)[0]
    optimizer = make([p])
    _cycle(optimizer)
    return sum(1 for value in optimizer.state[p].values() if value.shape == p.shape)


def temporaries(device: str) -> dict[str, float]:
    """Returns the bytes per parameter that a cycle takes from torch's allocator at its worst moment and gives back.

    It runs with one thread, since the default's chunks grow with the number of threads.
    """
    with torch_threads(1):
        calls = candidates(one_large, device)
        return {name: 1e6 * peak_allocated_mb(call, device) / 1e7 for name, call in calls.items()}


CASES: list[SpeedCase | NumberCase] = [
    SpeedCase(
        name="200 tensors, 10 M parameters",
        package="ranger-lite",
        make=partial(candidates, mid_size),
        against=REFERENCE,
        threads=(1, 2),
        bars=(Bar("RangerLite fused", 1.2), Bar("RangerLite", 4.0)),
        calls=K,
    ),
    SpeedCase(
        name="1,000 tiny tensors, 99,000 parameters",
        package="ranger-lite",
        make=partial(candidates, tiny),
        against=REFERENCE,
        threads=(1, 2),
        bars=(Bar("RangerLite", 3.0), Bar("RangerLite fused", 1.0)),
        calls=K,
    ),
    SpeedCase(
        name="one tensor, 10 M parameters",
        package="ranger-lite",
        make=partial(candidates, one_large),
        against=REFERENCE,
        threads=(1, 2),
        bars=(Bar("RangerLite fused", 1.2), Bar("RangerLite", 4.0)),
        calls=K,
    ),
    SpeedCase(
        name="GPT-2, 148 tensors, 124 M parameters",
        package="ranger-lite",
        make=partial(candidates, gpt2),
        against=REFERENCE,
        bars=(Bar("RangerLite fused", 1.0), Bar("RangerLite", 1.0)),
        devices=("cuda",),
        calls=K,
    ),
    NumberCase(
        name="state tensors per parameter",
        package="ranger-lite",
        make=state_tensors,
        unit="tensors",
        bars=(Bar("RangerLite", 3, "number at most"), Bar("RangerLite fused", 3, "number at most")),
    ),
    NumberCase(
        name="temporary memory of a step, one tensor of 10 M",
        package="ranger-lite",
        make=temporaries,
        unit="bytes per parameter",
        bars=(Bar("RangerLite fused", 0.01, "number at most"), Bar("RangerLite", 0.22, "number at most")),
    ),
]
