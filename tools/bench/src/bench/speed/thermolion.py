"""ThermoLion's paths beside torch's fused AdamW, with noise on and off, on many tensors and on tiny ones."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from thermolion import ThermoLion
from torch.nn import Parameter
from torch.optim import Optimizer

from bench.speed.measure import Bar, Candidates, NumberCase, SpeedCase
from bench.speed.memory import peak_allocated_mb

ADAMW = "torch AdamW, fused"
PATHS: dict[str, dict[str, Any]] = {
    "default": {},
    "fused": {"fused": True},
    "reference": {"foreach": False, "fused": False},
    "foreach": {"foreach": True},
}
FEW = [50_000] * 200
TINY = [99] * 1000
LAYER = [768 * 2304, 2304, 768 * 768, 768, 768 * 3072, 3072, 3072 * 768, 768, *[768] * 4]
GPT2 = [768 * 50257, 768 * 1024, *LAYER * 12, 768, 768]
COLD, WARM = 1e-3, 1.0  # a temperature that is gone after one step, and one that stays


def _parameters(sizes: Sequence[int], device: str) -> list[Parameter]:
    generator = torch.Generator().manual_seed(0)
    params = [Parameter(torch.randn(size, generator=generator).to(device)) for size in sizes]
    for param in params:
        param.grad = torch.randn(param.shape, generator=generator).to(device)
    return params


def _stepper(make: Callable[..., Optimizer], sizes: Sequence[int], device: str) -> Callable[[], None]:
    optimizer = make(_parameters(sizes, device))

    def step() -> None:
        optimizer.step()

    step()
    return step


def _candidates(sizes: Sequence[int], temp_decay: float, device: str) -> Candidates:
    """One step of each; a path that cannot run here is left out."""
    found = {ADAMW: _stepper(partial(torch.optim.AdamW, fused=True), sizes, device)}
    for name, flags in PATHS.items():
        make = partial(ThermoLion, lr=1e-6, seed=0, temp_decay=temp_decay, **flags)
        try:
            found[name] = _stepper(make, sizes, device)
        except RuntimeError as error:
            print(f"{name}: {str(error).splitlines()[0]}")
    return found


def _extra_memory(device: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, step in _candidates([1_000_000], WARM, device).items():
        found[name] = peak_allocated_mb(step, device)
    return found


def _case(
    name: str, sizes: Sequence[int], temp_decay: float, device: str, bars: dict[str, float], rounds: int = 9
) -> SpeedCase:
    return SpeedCase(
        name=name,
        package="thermolion",
        make=partial(_candidates, sizes, temp_decay),
        against=ADAMW,
        bars=tuple(Bar(candidate, limit) for candidate, limit in bars.items()),
        devices=(device,),
        rounds=rounds,
        threads=(1, 2) if sizes is FEW else (1,),
    )


CASES: list[SpeedCase | NumberCase] = [
    _case("200 tensors, 10 M parameters, cold", FEW, COLD, "cpu", {"fused": 1.2, "default": 4.0}),
    _case("200 tensors, 10 M parameters, warm", FEW, WARM, "cpu", {"fused": 1.8, "default": 8.0}),
    _case("1,000 tiny tensors, cold", TINY, COLD, "cpu", {"fused": 1.0, "default": 3.0}),
    _case("1,000 tiny tensors, warm", TINY, WARM, "cpu", {"fused": 1.0, "default": 4.0}),
    _case("GPT-2 size, 148 tensors, cold", GPT2, COLD, "cuda", {"fused": 1.0, "default": 1.0}),
    _case("GPT-2 size, 148 tensors, warm", GPT2, WARM, "cuda", {"fused": 1.2, "default": 1.2}),
    NumberCase(
        name="extra memory of a warm step, 1 M parameters in one tensor",
        package="thermolion",
        unit="MB",
        make=_extra_memory,
        bars=(Bar("fused", 0.1, "number at most"), Bar("reference", 4.0, "number at most")),
    ),
]
