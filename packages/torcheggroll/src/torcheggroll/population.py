"""The members of one generation: the specs to build them elsewhere, and LoRA factors in the layout of PEFT.

    ΔW = lora_B lora_A,  lora_B = ±(σ/√r) A,  lora_A = Bᵀ      (1)  for a LoRA scale (alpha/r) of 1

A module that stores (in, out), such as the Conv1D of Transformers, uses the transposed product.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar, cast, overload

import torch
from torch import Tensor, nn

from ._ops.products import full
from .filters import NamedParameter
from .noise.model import precise_dtype
from .noise.perturbation import Delta

Item = TypeVar("Item")
_PREFIX = "base_model.model."


class MemberSpec(NamedTuple):
    """Identifies a member; a worker with the same weights and settings builds the member from it.

    Args:
        seed: seed of the population's noise.
        epoch: number of the generation.
        member: index of the member, in [0, pop_size).

    Example:
        >>> import torch
        >>> from torcheggroll import MemberSpec, TorchEggrollES
        >>> es = TorchEggrollES(torch.nn.Linear(2, 1), pop_size=4, seed=7)
        >>> es.ask()[1]
        MemberSpec(seed=7, epoch=0, member=1)
    """

    seed: int
    epoch: int
    member: int


class Population(Sequence[Item], Generic[Item]):
    """A sequence whose members are built when indexed.

    Args:
        size: number of members.
        make: function from an index to a member.

    Example:
        >>> from torcheggroll import Population
        >>> squares = Population(4, lambda i: i * i)
        >>> len(squares), squares[-1], squares[1:3]
        (4, 9, [1, 4])
    """

    def __init__(self, size: int, make: Callable[[int], Item]) -> None:
        self._size = size
        self._make = make

    def __len__(self) -> int:
        """Counts the members."""
        return self._size

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        """Makes one member, or some."""
        if isinstance(index, slice):
            return [self._make(i) for i in range(*index.indices(self._size))]
        if not -self._size <= index < self._size:
            raise IndexError(f"member must be in [{-self._size}, {self._size}), got {index}")
        return self._make(index % self._size)

    def __iter__(self) -> Iterator[Item]:
        """Makes one member after the other."""
        return (self._make(i) for i in range(self._size))

    def __repr__(self) -> str:
        """Shows the number of members, without building one."""
        return f"Population({self._size} members)"


def results_by_member(results: Any, own: range, population: int, rank: int, seed: int, epoch: int) -> dict[int, Any]:
    """Returns results by the index of their member; None counts as missing.

    Args:
        results: one per member of ``own``, in order, or a mapping from indices or specs.
        own: the members of this process.
        population: number of members of all processes.
        rank: rank of this process, for messages.
        seed: seed of the open population.
        epoch: generation of the open population.

    Returns:
        Index to result.

    Raises:
        TypeError: a key is neither an index nor a MemberSpec.
        ValueError: there are too many or too few results, or one is of another population or process.
    """
    if not isinstance(results, Mapping):
        if len(results) != len(own):
            raise ValueError(f"Expected {len(own)} fitness scores, got {len(results)}")
        return dict(zip(own, results, strict=True))
    told: dict[int, Any] = {}
    for member, value in cast("Mapping[object, Any]", results).items():
        if isinstance(member, MemberSpec) and (member.seed, member.epoch) != (seed, epoch):
            raise ValueError(
                f"fitness must be of this population, seed {seed} and epoch {epoch}, got {member}; "
                "drop results that came too late"
            )
        index = getattr(member, "member", member)
        if isinstance(index, bool) or not isinstance(index, int):
            raise TypeError(f"a fitness must be keyed by a member's index or MemberSpec, got {member!r}")
        if not 0 <= index < population:
            raise ValueError(f"member must be in [0, {population}), got {index}")
        told[index] = value
    told = {i: value for i, value in told.items() if value is not None}
    foreign = sorted(i for i in told if i not in own)
    if foreign:
        raise ValueError(
            f"rank {rank} must tell of its own members, {own.start} to {own.stop - 1}, got {foreign}; "
            "ask() gives each rank those that it evaluates"
        )
    return told


def dense_members(model: nn.Module, parameters: Sequence[NamedParameter], deltas: Sequence[Delta]) -> dict[str, Tensor]:
    """Returns members in full: name to ``(members, *shape)``, including everything that does not evolve."""
    own = dict(zip([p.name for p in parameters], deltas, strict=True))
    out: dict[str, Tensor] = {}
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if name in own:
            precise = value.detach().to(precise_dtype(value.dtype))
            out[name] = (precise + full(tuple(value.shape), *own[name])).to(value.dtype)
        else:
            out[name] = value.detach().unsqueeze(0).expand(deltas[0].members, *value.shape)
    return out


def lora_factors(model: nn.Module, parameters: Sequence[NamedParameter], deltas: Sequence[Delta]) -> dict[str, Tensor]:
    """Names each factor as PEFT does.

    Args:
        model: owner of the parameters; the type of a module decides the layout.
        parameters: the evolved parameters.
        deltas: the perturbations of one member, without the dimension of members.

    Returns:
        PEFT's names to tensors on the parameters' device.
    """
    out: dict[str, Tensor] = {}
    for parameter, delta in zip(parameters, deltas, strict=True):
        path, _, leaf = parameter.name.rpartition(".")
        module = model.get_submodule(path)
        left, right, dense = delta
        name = f"{_PREFIX}{path}." if path else _PREFIX
        if left is None or right is None or left.dim() > 2 or leaf != "weight":  # PEFT has no layout for a stack
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
    """Returns a copy with its own storage: files hold whole storages, and safetensors refuses shared ones."""
    return factor.clone(memory_format=torch.contiguous_format)
