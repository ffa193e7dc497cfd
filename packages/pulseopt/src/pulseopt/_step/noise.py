"""Gaussian noise on gradients, from a random stream for each parameter.

g is the gradient of parameter i of group j, σ the standard deviation:

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

# torch's operations on lists are private by name only.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false, reportUnknownMemberType=false

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
        shared: draw for all tensors of a device and dtype at once, from one stream seeded with ``seed``: a few
            launches for any number of tensors. Sparse and sharded gradients keep separate streams.
        spare_zeros: leave entries whose gradient is 0 alone.
    """

    def __init__(self, seed: int, shared: bool = False, spare_zeros: bool = False) -> None:
        self.seed: int = seed
        self._shared = shared
        self._spare_zeros = spare_zeros
        self._generators: dict[str, torch.Generator] = {}
        self._saved: dict[str, Tensor] = {}  # states of streams that have not been drawn from since they were loaded

    def noisy_all(
        self, grads: list[Tensor], places: list[tuple[int, int]], std: float, scale: Tensor | None = None
    ) -> list[Tensor]:
        """Returns the gradients with noise; the ones given stay as they are.

        Args:
            grads: dense, sparse COO (noise on the entries they hold) or DTensors (their part of the whole's noise).
            places: each parameter's group j and index i in it.
            std: σ, in the gradients' unit.
            scale: factor that the gradients are still multiplied by, and the noise with it.
        """
        noisy = list(grads)
        dense: list[int] = []
        for index, (grad, place) in enumerate(zip(grads, places, strict=True)):
            if grad.is_sparse:
                noisy[index] = self._noisy_sparse(grad, place, std, scale)
            elif hasattr(grad, "placements"):
                noise = self.draw(grad.shape, grad.dtype, grad.device, *place)
                noisy[index] = self._added([grad], [_placed_like(noise, grad)], std, scale)[0]
            else:
                dense.append(index)
        if dense:
            chosen = [grads[index] for index in dense]
            noises = (
                self._draw_together(chosen)
                if self._shared
                else [
                    self.draw(grads[index].shape, grads[index].dtype, grads[index].device, *places[index])
                    for index in dense
                ]
            )
            for index, result in zip(dense, self._added(chosen, noises, std, scale), strict=True):
                noisy[index] = result
        return noisy

    def noisy(self, grad: Tensor, group: int, index: int, std: float, scale: Tensor | None = None) -> Tensor:
        """Returns one gradient with noise; as in `noisy_all`."""
        return self.noisy_all([grad], [(group, index)], std, scale)[0]

    def _noisy_sparse(self, grad: Tensor, place: tuple[int, int], std: float, scale: Tensor | None) -> Tensor:
        grad = grad.coalesce()
        values = self.noisy(grad.values(), *place, std, scale)
        return torch.sparse_coo_tensor(grad.indices(), values, grad.shape, check_invariants=False, is_coalesced=True)

    def _added(self, grads: list[Tensor], noises: list[Tensor], std: float, scale: Tensor | None) -> list[Tensor]:
        """Returns the noises, which this call may write to, scaled and with the gradients added."""
        torch._foreach_mul_(noises, std)
        if scale is not None:
            for noise in noises:
                noise.mul_(scale.to(noise.device, noise.dtype))
        if self._spare_zeros:
            masks = [grad != 0 for grad in grads] if grads[0].is_complex() else torch._foreach_sign(grads)
            torch._foreach_mul_(noises, masks if grads[0].is_complex() else torch._foreach_abs(masks))
        torch._foreach_add_(noises, grads)  # (15)
        return noises

    def _draw_together(self, grads: list[Tensor]) -> list[Tensor]:
        """Returns z for all gradients, those of one device and dtype from one draw."""
        alike: dict[tuple[torch.device, torch.dtype], list[int]] = {}
        for index, grad in enumerate(grads):
            alike.setdefault((grad.device, grad.dtype), []).append(index)
        noises: dict[int, Tensor] = {}
        for (device, dtype), indices in alike.items():
            sizes = [grads[index].numel() for index in indices]
            flat = self._randn(torch.Size([sum(sizes)]), dtype, device, f"{device}:all", self.seed)
            for index, part in zip(indices, torch.split(flat, sizes), strict=True):
                noises[index] = part.view(grads[index].shape)
        return [noises[index] for index in range(len(grads))]

    def draw(self, shape: torch.Size, dtype: torch.dtype, device: torch.device, group: int, index: int) -> Tensor:
        """Returns z for one parameter, of the given shape, and advances its stream."""
        key = f"{device}:{group}:{index}"
        return self._randn(shape, dtype, device, key, stream_seed(self.seed, group, index))

    def _randn(self, shape: torch.Size, dtype: torch.dtype, device: torch.device, key: str, seed: int) -> Tensor:
        generator = self._generator(device, key, seed)
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
        return {**self.__dict__, "_generators": {}, "_saved": self.states()}

    def _generator(self, device: torch.device, key: str, seed: int) -> torch.Generator:
        generator = self._generators.get(key)
        if generator is None:
            generator = torch.Generator(device if device.type in _WITH_GENERATOR else "cpu")
            if key in self._saved:
                generator.set_state(self._saved.pop(key))
            else:
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
