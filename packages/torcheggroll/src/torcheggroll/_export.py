"""A member as LoRA factors in the layout of PEFT.

    ΔW = lora_B lora_A,  lora_B = ±(σ/√r) A,  lora_A = Bᵀ      (1)  for a LoRA scale (alpha/r) of 1

A module that stores (in, out), as the Conv1D of Transformers, takes the transposed product.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ._engines import Evolved
from ._noise import Delta

_PREFIX = "base_model.model."


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
