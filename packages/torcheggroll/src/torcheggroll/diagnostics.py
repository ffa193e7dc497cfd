"""Diagnostics of a step, and the view of a run in a notebook.

    signal   = rms((s₂ₖ - s₂ₖ₊₁)/2) / std((s₂ₖ + s₂ₖ₊₁)/2)            (1)
    regime   = σ√d                                                    (2)  the paper asks for σ = o(1/√d)
    ratio    = ‖change of the weights‖ / ‖weights‖                    (3)

Where (1) is far below one, members differ by curvature or by chance, not by slope: σ is too large, or the batch too
small. Where (2) is above one as well, the run has left the regime in which the estimate follows the gradient, and a
warning says so.

Source: Sarkar et al. 2025 (EGGROLL), section 5, https://arxiv.org/abs/2511.16652
"""

import html
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, cast

import torch
from torch import Tensor

from .fitness import NAN

_LINEAR = 1.0  # σ√d up to which the perturbations count as small
_CURVED = 0.1  # signal below which curvature is ten times the slope
_PAIRS = 8  # fewer say little about either
_WIDTH, _HEIGHT, _EDGE = 560, 200, 8  # of a picture
_KEPT = 2000  # generations in it


class Norms:
    """Norms of one step, which stay on the device until they are read.

    Args:
        tensors: name to a scalar; a missing name counts as 0.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = dict(tensors)
        self._read: dict[str, float] | None = None

    def read(self, name: str) -> float:
        """Returns a norm; the first call waits for the device, once for all of them."""
        if self._read is None:
            names = list(self._tensors)
            stacked = torch.stack([self._tensors[name].double() for name in names]) if names else torch.zeros(0)
            values = cast("list[float]", cast(Any, stacked).tolist())
            self._read = dict(zip(names, values, strict=True))
            self._tensors = {}
        return self._read.get(name, 0.0)


@dataclass(frozen=True, repr=False)
class Diagnostics:
    """The numbers of one step; ``es.diagnostics`` holds those of the last one.

    Args:
        epoch: number of the generation.
        engine: the engine that evaluated it: ``"fold"``, ``"vmap"`` or ``"loop"``.
        sigma: σ of the step.
        lr: learning rate of the step.
        fitness_mean: mean fitness over the members that have one; higher is better, as are the next two.
        fitness_max: the best fitness.
        fitness_min: the worst fitness.
        fitness_std: standard deviation of the fitness.
        counted: number of members in the update.
        dropped: number of members left out, with their mirror images.
        pair_signal: slope over curvature, equation (1); NaN where it is not defined.
        norms: norms of update and weights, read from the device on demand.
        sigma_root_d: σ√d, equation (2).

    Example:
        >>> import torch
        >>> from torcheggroll import TorchEggrollES
        >>> es = TorchEggrollES(torch.nn.Linear(2, 1), pop_size=4, seed=0)
        >>> population = es.ask()
        >>> mean = es.tell([1.0, 2.0, 1.0, None])
        >>> es.diagnostics.fitness_max, es.diagnostics.counted, es.diagnostics.dropped
        (2.0, 2, 2)
    """

    epoch: int
    engine: str
    sigma: float
    lr: float
    fitness_mean: float
    fitness_max: float
    fitness_min: float
    fitness_std: float
    counted: int
    dropped: int
    pair_signal: float
    norms: Norms = field(compare=False)
    sigma_root_d: float

    @property
    def update_norm(self) -> float:
        """Norm of the estimate ΔW; reading a norm waits for the device."""
        return self.norms.read("update_norm")

    @property
    def weight_norm(self) -> float:
        """Norm of the weights before the step."""
        return self.norms.read("weight_norm")

    @property
    def update_ratio(self) -> float:
        """Norm of the change of the weights, over the norm of the weights."""
        return self.norms.read("moved_norm") / self.weight_norm if self.weight_norm else 0.0  # (3)

    def as_dict(self) -> dict[str, Any]:
        """Returns plain numbers and strings, ready for JSON."""
        out: dict[str, Any] = {}
        for each in fields(self):
            read = ("update_norm", "weight_norm", "update_ratio") if each.name == "norms" else (each.name,)
            out |= {name: getattr(self, name) for name in read}
        return out

    def __repr__(self) -> str:
        """Shows every number."""
        return f"Diagnostics({', '.join(f'{name}={value!r}' for name, value in self.as_dict().items())})"


def diagnose(
    s: Tensor,
    counted: Tensor,
    antithetic: bool,
    norms: Mapping[str, Tensor],
    numbers: int,
    *,
    epoch: int,
    engine: str,
    sigma: float,
    lr: float,
) -> Diagnostics:
    """Returns the diagnostics of one step.

    Args:
        s: ``(N,)`` or ``(N, evaluations)``, fitness.
        counted: ``(N,)``, which members count.
        antithetic: members 2k and 2k + 1 are a pair.
        norms: norms of the update; empty where nothing moved.
        numbers: d, the number of evolved entries.
        epoch: number of the generation.
        engine: the engine that evaluated it.
        sigma: σ.
        lr: learning rate.
    """
    return Diagnostics(
        counted=int(counted.sum()),
        dropped=len(counted) - int(counted.sum()),
        pair_signal=pair_signal(s, counted, antithetic),
        norms=Norms(norms),
        sigma_root_d=sigma * numbers**0.5,  # (2)
        epoch=epoch,
        engine=engine,
        sigma=sigma,
        lr=lr,
        **fitness_statistics(s),
    )


def pair_signal(s: Tensor, counted: Tensor, antithetic: bool) -> float:
    """Returns the effect of a perturbation's sign over that of its presence, equation (1); NaN without whole pairs."""
    if not antithetic:
        return NAN
    kept = s[counted]
    kept = kept.mean(1) if kept.dim() == 2 else kept
    if len(kept) < 4:
        return NAN
    odd, even = (kept[0::2] - kept[1::2]) / 2, (kept[0::2] + kept[1::2]) / 2
    deviation = float(even.std())
    return float(odd.square().mean().sqrt()) / deviation if deviation else NAN  # (1)


def regime_warning(seen: Diagnostics) -> str | None:
    """Returns a warning where both (1) and (2) show that σ has left the linear regime of the paper, else None."""
    inside = seen.sigma_root_d <= _LINEAR or not seen.pair_signal < _CURVED
    if inside or seen.counted < 2 * _PAIRS:
        return None
    return (
        f"σ√d must stay small for the estimate to follow the gradient, got {seen.sigma_root_d:.3g} at "
        f"sigma={seen.sigma:.3g}, and curvature moves the fitness {1 / max(seen.pair_signal, 1e-9):.3g} times as much "
        f"as the slope; lower sigma towards {seen.sigma * _LINEAR / seen.sigma_root_d:.2g}, or evolve fewer parameters"
    )


def fitness_statistics(s: Tensor) -> dict[str, float]:
    """Returns mean, maximum, minimum and standard deviation of the finite fitnesses."""
    s = s.mean(1) if s.dim() == 2 else s
    s = s[torch.isfinite(s)]
    if len(s) == 0:
        return dict.fromkeys(("fitness_mean", "fitness_max", "fitness_min", "fitness_std"), NAN)
    return {
        "fitness_mean": float(s.mean()),
        "fitness_max": float(s.max()),
        "fitness_min": float(s.min()),
        "fitness_std": float(s.std()) if len(s) > 1 else 0.0,
    }


class History:
    """The mean and the best fitness of the last generations."""

    def __init__(self) -> None:
        self.epochs: deque[int] = deque(maxlen=_KEPT)
        self.means: deque[float] = deque(maxlen=_KEPT)
        self.maxima: deque[float] = deque(maxlen=_KEPT)

    def add(self, seen: Diagnostics) -> None:
        """Adds a generation; a resumed run may restart from an earlier one."""
        while self.epochs and self.epochs[-1] >= seen.epoch:
            for column in (self.epochs, self.means, self.maxima):
                column.pop()
        self.epochs.append(seen.epoch)
        self.means.append(seen.fitness_mean)
        self.maxima.append(seen.fitness_max)

    def as_html(self, title: str, values: Mapping[str, object]) -> str:
        """Returns a table of ``values`` under ``title``, and both fitnesses over the generations, as an inline SVG."""
        cells = "".join(f"<tr><th>{html.escape(n)}</th><td>{_shown(value)}</td></tr>" for n, value in values.items())
        return f"<div><strong>{html.escape(title)}</strong><table>{cells}</table>{self._picture()}</div>"

    def _picture(self) -> str:
        known = [v for v in (*self.means, *self.maxima) if abs(v) < float("inf")]
        if len(self.epochs) < 2 or not known:
            return ""
        low, high, first, last = min(known), max(known), self.epochs[0], self.epochs[-1]
        scale = (_HEIGHT - 2 * _EDGE) / (high - low or 1.0)

        def line(values: Sequence[float] | deque[float], style: str) -> str:
            points = " ".join(
                f"{_EDGE + (_WIDTH - 2 * _EDGE) * (epoch - first) / (last - first):.1f},"
                f"{_HEIGHT - _EDGE - scale * (value - low):.1f}"
                for epoch, value in zip(self.epochs, values, strict=True)
                if abs(value) < float("inf")
            )
            return f'<polyline points="{points}" fill="none" stroke="currentColor" {style}/>'

        drawn = line(self.maxima, 'stroke-width="1" stroke-opacity="0.45"') + line(self.means, 'stroke-width="2"')
        frame = f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="currentColor" stroke-opacity="0.2"/>'
        size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
        said = f"generation {first} to {last}, fitness {low:.4g} to {high:.4g}; thick: mean, thin: best member"
        return f'<svg role="img" aria-label="{said}" {size}>{frame}{drawn}</svg><div><small>{said}</small></div>'


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else html.escape(str(value))
