"""Choose what evolves by the names of modules, as PEFT chooses what it adapts."""

import re
from collections.abc import Callable, Iterable

from torch import nn


def target_modules(names: str | Iterable[str], *, bias: bool = False) -> Callable[[nn.Parameter, str], bool]:
    """Make a ``param_filter`` that evolves the weights of the named modules.

    Args:
        names: a regular expression that a module's whole name must match, or names: a module is meant by its own name
            or by the end of it, ``"c_attn"`` or ``"attn.c_attn"`` for ``"transformer.h.0.attn.c_attn"``.
        bias: also evolve whatever else these modules hold, biases as a rule.

    Returns:
        ``(parameter, name) -> bool``.

    Raises:
        TypeError: ``names`` is no string and holds something else than strings.
        ValueError: ``names`` holds nothing.
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
        return pattern.fullmatch(module) is not None and (bias or leaf == "weight")

    return chosen
