"""Selection of the parameters that evolve; modules are selected by name, as in PEFT."""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd  # pyright: ignore[reportPrivateUsage]

ParameterFilter = Callable[[nn.Parameter, str], bool]


class NamedParameter(NamedTuple):
    """One evolved parameter."""

    name: str
    value: nn.Parameter
    stacked: bool = False  # holds matrices (E, m, n), as the weights of experts do


def evolved_parameters(model: nn.Module, param_filter: ParameterFilter | None) -> list[NamedParameter]:
    """Returns the parameters that evolve; tied parameters once.

    Raises:
        TypeError: ``model`` is not a module.
        ValueError: nothing is selected, or a selected parameter cannot be perturbed.
    """
    if not isinstance(model, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}; wrap the function in a module")
    chosen = [
        NamedParameter(name, p, holds_matrices(model, name, p))
        for name, p in model.named_parameters()
        if p.requires_grad and (param_filter is None or param_filter(p, name))
    ]
    if not chosen:
        names = [name for name, _ in model.named_parameters()]
        raise ValueError(
            f"TorchEggrollES: no parameters selected for ES. At least one parameter must require a gradient and pass "
            f"param_filter; the model has {len(names)}: {', '.join(names[:5])}{', …' if len(names) > 5 else ''}"
        )
    for name, value, _ in chosen:
        if not value.is_floating_point() or value.layout != torch.strided:
            raise ValueError(
                f"evolved parameters must be dense real floating-point tensors, got {name!r}: {value.dtype}"
            )
    return chosen


def holds_matrices(model: nn.Module, name: str, parameter: nn.Parameter) -> bool:
    """Returns whether a parameter holds matrices ``(E, m, n)``; the weight of a convolution does not."""
    if parameter.dim() != 3 or len(parameter) == 1:
        return False
    path = name.split(".")[:-1]
    owners = [model.get_submodule(".".join(path[:depth])) for depth in range(len(path) + 1)]
    return not any(isinstance(owner, _ConvNd) for owner in owners)


def target_modules(names: str | Iterable[str], *, bias: bool = False) -> ParameterFilter:
    """Returns a ``param_filter`` that evolves the weights of the named modules, those of experts included.

    Args:
        names: a regular expression that the whole name of a module must match; or a list of names, each of which
            matches a module's name or the end of it: ``"c_attn"`` or ``"attn.c_attn"`` match
            ``"transformer.h.0.attn.c_attn"``. In a list, a name may also be that of a parameter, such as
            ``"experts.gate_up_proj"``.
        bias: also evolve the other parameters of these modules, usually biases.

    Returns:
        ``(parameter, name) -> bool``.

    Raises:
        TypeError: ``names`` is neither a string nor a collection of strings.
        ValueError: ``names`` is empty.

    Example:
        >>> from torch import nn
        >>> from torcheggroll import TorchEggrollES, target_modules
        >>> model = nn.ModuleDict({"query": nn.Linear(4, 4), "value": nn.Linear(4, 4)})
        >>> TorchEggrollES(model, seed=0, param_filter=target_modules(["query"])).param_names
        ['query.weight']
    """
    if isinstance(names, str):
        pattern = re.compile(names)
    else:
        wanted = list(names)
        if not all(isinstance(name, str) for name in wanted):
            raise TypeError(f"names must be a regular expression or names of modules, got {wanted!r}")
        if not wanted:
            raise ValueError("names must name one module at least, got none")
        pattern = re.compile(rf"(?:.*\.)?(?:{'|'.join(map(re.escape, wanted))})", re.DOTALL)

    def chosen(parameter: nn.Parameter, name: str) -> bool:
        module, _, leaf = name.rpartition(".")
        if not isinstance(names, str) and pattern.fullmatch(name):
            return True
        return pattern.fullmatch(module) is not None and (bias or leaf == "weight" or parameter.dim() > 2)

    return chosen
