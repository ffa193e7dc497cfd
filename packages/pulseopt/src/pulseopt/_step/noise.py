"""Gaussian noise on gradients, from one stream for every parameter.

g is the gradient of parameter i of group j, σ the deviation:

    g' = g + σ z,  z ~ N(0, 1) entry by entry                                       (15)
    seed(j, i) = seed + 1009 j + i                                  for i < 1009    (16)
    seed(j, i) = seed - 1 - (d (d + 1) / 2 + i'),  d = j + i',  i' = i - 1009       (17)  otherwise

(15) and (16) are release 0.1.0's, which uses (16) for every i, so that parameter 1009 of a group shares its noise
with parameter 0 of the next. (17) counts pairs diagonal by diagonal (Cantor 1878) downwards from the seed. PyTorch
takes a seed modulo 2³² on the CPU; no two streams meet while j + i stays below 65,000.
"""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

_STRIDE = 1009
_WITH_GENERATOR = ("cpu", "cuda", "mps", "xpu")


def stream_seed(seed: int, group: int, index: int) -> int:
    """Returns the seed of one parameter's stream."""
    if index < _STRIDE:
        return seed + _STRIDE * group + index  # (16)
    beyond = index - _STRIDE
    diagonal = group + beyond
    return seed - 1 - (diagonal * (diagonal + 1) // 2 + beyond)  # (17)


class NoiseSource:
    """The streams of all parameters, each created when it is first drawn from.

    Args:
        seed: of equations (16) and (17).
    """

    def __init__(self, seed: int) -> None:
        self.seed: int = seed
        self._generators: dict[str, torch.Generator] = {}
        self._saved: dict[str, Tensor] = {}  # states of streams that have not been drawn from since they were loaded

    def noisy(self, grad: Tensor, group: int, index: int, std: float, scale: Tensor | None = None) -> Tensor:
        """Returns the gradient with noise; the one given stays as it is.

        Args:
            grad: dense, sparse COO (noise on the entries it holds) or a DTensor (its part of the whole's noise).
            group: the parameter's group, j.
            index: the parameter's place in its group, i.
            std: σ, in the gradient's unit.
            scale: factor that the gradient is still multiplied by, and the noise with it.
        """
        if grad.is_sparse:
            grad = grad.coalesce()
            values = self.noisy(grad.values(), group, index, std, scale)
            return torch.sparse_coo_tensor(  # pyright: ignore[reportUnknownMemberType]
                grad.indices(), values, grad.shape, check_invariants=False, is_coalesced=True
            )
        noise = self.draw(grad.shape, grad.dtype, grad.device, group, index).mul_(std)
        if scale is not None:
            noise.mul_(scale.to(noise.device, noise.dtype))
        return grad + _placed_like(noise, grad)  # (15)

    def draw(self, shape: torch.Size, dtype: torch.dtype, device: torch.device, group: int, index: int) -> Tensor:
        """Returns z for one parameter, of the given shape, and advance its stream."""
        generator = self._generator(device, group, index)
        return torch.randn(shape, generator=generator, device=generator.device, dtype=dtype).to(device)

    def states(self) -> dict[str, Tensor]:
        """Returns where every stream stands: ``"device:group:index"`` and a tensor of bytes."""
        return {**self._saved, **{key: generator.get_state() for key, generator in self._generators.items()}}

    def load(self, seed: int, states: dict[str, Tensor]) -> None:
        """Resumes from saved streams."""
        self.seed = seed
        self._saved = {key: state.cpu() for key, state in states.items()}
        self._generators = {}

    def __getstate__(self) -> dict[str, object]:
        """Copies and pickles hold states, since generators cannot be pickled everywhere."""
        return {"seed": self.seed, "_generators": {}, "_saved": self.states()}

    def _generator(self, device: torch.device, group: int, index: int) -> torch.Generator:
        key = f"{device}:{group}:{index}"
        generator = self._generators.get(key)
        if generator is None:
            generator = torch.Generator(device if device.type in _WITH_GENERATOR else "cpu")
            if key in self._saved:
                generator.set_state(self._saved.pop(key))
            else:
                seed = stream_seed(self.seed, group, index)
                generator.manual_seed(seed if -(2**63) <= seed < 2**64 else seed % 2**64)
            self._generators[key] = generator
        return generator


def _placed_like(noise: Tensor, grad: Any) -> Tensor:
    """Returns the part of the whole's noise that this rank's part of a sharded gradient gets."""
    placements = getattr(grad, "placements", None)
    if placements is None:
        return noise
    try:
        distributed = import_module("torch.distributed.tensor")
        replicate: Any = distributed.Replicate
    except AttributeError:  # torch 2.4
        replicate = import_module("torch.distributed._tensor").Replicate
    mesh = grad.device_mesh
    whole = grad.from_local(noise, mesh, [replicate()] * mesh.ndim, run_check=False)
    part: Tensor = whole.redistribute(mesh, placements)
    return part
