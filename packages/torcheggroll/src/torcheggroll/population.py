"""The members of one epoch: what is needed to make one elsewhere, and its LoRA factors in the layout of PEFT.

    ΔW = lora_B lora_A,  lora_B = ±(σ/√r) A,  lora_A = Bᵀ      (1)  for a LoRA scale (alpha/r) of 1

A module that stores (in, out), as the Conv1D of Transformers, takes the transposed product.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar, overload

import torch
from torch import Tensor, nn

from ._evaluate.task import Evolved
from .noise.perturbation import Delta

Item = TypeVar("Item")
_PREFIX = "base_model.model."


class MemberSpec(NamedTuple):
    """All it takes to make a member again, on a worker that holds the same weights and settings."""

    seed: int
    epoch: int
    member: int


class Population(Sequence[Item], Generic[Item]):
    """A population whose members are made when they are asked for.

    Args:
        size: number of members.
        make: gives a member by its index.
    """

    def __init__(self, size: int, make: Callable[[int], Item]) -> None:
        self._size = size
        self._make = make

    def __len__(self) -> int:
        """Count the members."""
        return self._size

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        """Make one member, or some."""
        if isinstance(index, slice):
            return [self._make(i) for i in range(*index.indices(self._size))]
        if not -self._size <= index < self._size:
            raise IndexError(f"member must be in [{-self._size}, {self._size}), got {index}")
        return self._make(index % self._size)

    def __iter__(self) -> Iterator[Item]:
        """Make one member after the other."""
        return (self._make(i) for i in range(self._size))

    def __repr__(self) -> str:
        """Say how many there are; none is made."""
        return f"Population({self._size} members)"


def lora_factors(model: nn.Module, parameters: Sequence[Evolved], deltas: Sequence[Delta]) -> dict[str, Tensor]:
    """Name each factor as PEFT does.

    Args:
        model: owner of the parameters; the kind of module decides the layout.
        parameters: the evolved ones.
        deltas: of one member, without the dimension of members.

    Returns:
        PEFT's names to tensors on the parameters' device.
    """
    out: dict[str, Tensor] = {}
    for parameter, delta in zip(parameters, deltas, strict=True):
        path, _, leaf = parameter.name.rpartition(".")
        module = model.get_submodule(path)
        left, right, dense = delta
        name = f"{_PREFIX}{path}." if path else _PREFIX
        if left is None or right is None or leaf != "weight":
            change = dense if left is None or right is None else (left.mT @ right).view(parameter.value.shape)
            assert change is not None
            out[_PREFIX + parameter.name] = (parameter.value.detach() + change).to(parameter.value.dtype)
        else:
            out.update(_layout(module, name, left, right))
    return out


def _layout(module: nn.Module, name: str, left: Tensor, right: Tensor) -> dict[str, Tensor]:
    if isinstance(module, nn.Embedding):
        return {f"{name}lora_embedding_A": _own(left), f"{name}lora_embedding_B": _own(right.mT)}
    if type(module).__name__ == "Conv1D":
        left, right = right, left  # it stores (in, out)
    A, B = _own(right), _own(left.mT)  # (1)
    if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return {f"{name}lora_A.weight": A, f"{name}lora_B.weight": B}
    kernel = module.weight.shape[1:]
    return {
        f"{name}lora_A.weight": A.view(len(A), *kernel),
        f"{name}lora_B.weight": B.view(*B.shape, *[1] * len(kernel[1:])),
    }


def _own(factor: Tensor) -> Tensor:
    """Copy out of what all factors share: files hold whole storages, and safetensors refuses shared ones."""
    return factor.clone(memory_format=torch.contiguous_format)
