"""Save and restore a run: plain tensors, numbers, strings, lists and dictionaries."""

from typing import Any

import torch
from torch import Tensor

from ._checks import check
from ._settings import check_settings
from ._together import Together

_SETTINGS = (
    "pop_size", "sigma", "rank", "antithetic", "normalize_fitness", "scale", "noise", "noise_reuse", "group_size",
    "weight_decay", "max_update_norm", "seed",
)  # fmt: skip


def checkpoint(es: Together) -> dict[str, Any]:
    """Collect the state; the keys of 0.2.0 keep their meaning."""
    state: dict[str, Any] = {
        "epoch": es.epoch,
        "base_params": {p.name: p.value.detach().to("cpu", copy=True) for p in es.parameters},
        "param_names": list(es.param_names),
        "param_shapes": [list(shape) for shape in es.param_shapes],
        "lr": float(es.updater.optimizer.param_groups[0]["lr"]),
        **{name: getattr(es, name) for name in _SETTINGS},
        **es.updater.state_dict(),
    }
    if es.fitness is None or isinstance(es.fitness, str):
        state["fitness"] = es.fitness
    return state


def restore(es: Together, state: dict[str, Any]) -> None:
    """Take a state over, after checking all of it."""
    epoch, base = state["epoch"], state["base_params"]
    _check_parameters(es, base)
    given = {name: state[name] for name in (*_SETTINGS, "fitness") if name in state}
    check("lr", state.get("lr", 0.0), "[0, inf)")
    fields = es.settings()._asdict()
    fields.update({name: value for name, value in given.items() if name in fields and value is not None})
    if "fitness" in given or "normalize_fitness" in given:
        default = "zscore" if given.get("normalize_fitness", es.normalize_fitness) else "centered"
        fields["fitness"] = given.get("fitness", es.fitness) or default
    fields["group_size"] = given.get("group_size", es.group_size)
    check_settings(type(es.settings())(**fields))
    for name, value in given.items():
        setattr(es, name, value)
    with torch.no_grad():
        for p in es.parameters:
            p.value.copy_(base[p.name])
    if "optimizer" in state:
        es.updater.load_state_dict(state)
    elif "lr" in state:
        for group in es.updater.optimizer.param_groups:
            group["lr"] = state["lr"]
    es.epoch = epoch
    es.discard_population()
    es.verify_soon()


def _check_parameters(es: Together, base: dict[str, Tensor]) -> None:
    own = {p.name: tuple(p.value.shape) for p in es.parameters}
    saved = {name: tuple(value.shape) for name, value in base.items()}
    if own != saved:
        wrong = sorted(name for name in own.keys() | saved.keys() if own.get(name) != saved.get(name))
        raise ValueError(f"the checkpoint must hold this model's evolved parameters; these differ: {', '.join(wrong)}")
