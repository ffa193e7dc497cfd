"""Which optimizer keeps which knob where: the same key means different things to different optimizers.

``betas[0]`` is the momentum of bitsandbytes' SGD and LARS and the alpha of its RMSprop; its Adagrad has ``betas`` that
mean nothing; ``alpha`` of ASGD and of bitsandbytes' Adam family is no smoothing constant and is left alone; AdEMAMix
has a third beta, left alone too; Transformers' Adafactor calls its momentum ``beta1``.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from torch import Tensor
from torch.optim import SGD, Optimizer, RMSprop

Group = dict[str, Any]


class Place(NamedTuple):
    """Where a parameter group keeps a knob: under ``key``, or in that tuple's entry ``entry``."""

    key: str
    entry: int | None = None

    def get(self, group: Mapping[str, Any]) -> Any:
        """The knob's value in ``group``; None where it is not there."""
        key, entry = self
        value = group.get(key)
        return value if entry is None or value is None else value[entry]

    def replaced(self, held: Any, value: float) -> Any:
        """What the group must hold instead of ``held`` for the knob to be ``value``; tuples are never changed."""
        entry = self.entry
        if entry is None:
            return value
        return type(held)((*held[:entry], value, *held[entry + 1 :]))


def places(optimizer: Optimizer) -> dict[str, Place]:
    """The knobs that ``optimizer`` has, among lr, wd, momentum, beta1, beta2 and alpha."""
    candidates = {"lr": Place("lr"), "wd": Place("weight_decay"), **_averages(optimizer)}
    groups = optimizer.param_groups

    def is_there(knob: str, place: Place) -> bool:
        # Adafactor's lr is None while it paces itself: a knob that is there and does nothing.
        return any(place.key in group and (knob == "lr" or place.get(group) is not None) for group in groups)

    return {knob: place for knob, place in candidates.items() if is_there(knob, place)}


def _averages(optimizer: Optimizer) -> dict[str, Place]:
    kind = getattr(optimizer, "optimizer_name", None)  # bitsandbytes' word for its kernels
    first, group = Place("betas", 0), optimizer.param_groups[0]
    if type(kind) is str and "betas" in group:
        if kind in ("momentum", "lars"):
            return {"momentum": first}
        if kind == "rmsprop":
            return {"alpha": first}
        if kind == "adagrad":
            return {}
    found: dict[str, Place] = {}
    if "momentum" in group:
        found["momentum"] = Place("momentum")
    elif "beta1" in group:
        found["momentum"] = Place("beta1")
    betas: Any = group.get("betas")
    if isinstance(betas, tuple | list) and len(cast(Sequence[Any], betas)) >= 2:
        found |= {"beta1": first, "beta2": Place("betas", 1)}
    if "alpha" in group and any(each.__name__.startswith("RMSprop") for each in type(optimizer).__mro__):
        found["alpha"] = Place("alpha")
    return found


def lr_is_inert(group: Mapping[str, Any]) -> bool:
    """Whether the optimizer ignores this group's lr, as Transformers' Adafactor does with ``relative_step=True``."""
    return group.get("lr") is None or bool(group.get("relative_step", False))


def recompiles(optimizer: Optimizer) -> bool:
    """Whether every new value of betas or weight decay costs a compilation, of seconds: torchao's step is compiled."""
    return any(each.__module__.startswith("torchao.") for each in type(optimizer).__mro__)


def is_heavy_ball(optimizer: Optimizer) -> bool:
    """Whether momentum adds gradients up, so that a longer memory makes larger steps, instead of averaging them."""
    accumulates = getattr(optimizer, "optimizer_name", None) in ("momentum", "lars")
    return accumulates or isinstance(optimizer, SGD | RMSprop) or "dampening" in optimizer.param_groups[0]


def check_numbers(groups: Iterable[Group], knobs: Mapping[str, Place]) -> None:
    """Refuse a knob that is neither a number nor, for lr, a tensor.

    Raises:
        TypeError: a rule moves a knob that a group keeps as a tensor.
    """
    for group in groups:
        for knob, place in knobs.items():
            if knob != "lr" and isinstance(place.get(group), Tensor):
                raise TypeError(
                    f"{place.key} must be made of numbers for its rule to move it, got a tensor; "
                    f"pass floats, or no rule for {knob}"
                )
