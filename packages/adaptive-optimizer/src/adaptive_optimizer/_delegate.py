"""An optimizer that stands in for another one: what it shows is the other one's own.

``param_groups``, ``state``, ``defaults`` and the hooks are read from the wrapped optimizer each time they are asked
for. A copy of the references would go stale as soon as someone (``load_state_dict``, Accelerate, a sharding library)
replaces them there. ``Optimizer.__init__`` is not called: it would make groups and hooks of its own, and have the
global step hooks run twice.
"""

# A property cannot be told apart from the attribute it stands in for, except by type checkers.
# pyright: reportIncompatibleVariableOverride=false

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

Hook = Callable[..., Any]


class Delegate(Optimizer):
    """Passes everything that belongs to an ``Optimizer`` through to the one it wraps."""

    _step_supports_amp_scaling = False  # GradScaler unscales and decides; also around a fused optimizer

    def __init__(self, optimizer: Optimizer) -> None:
        self._base = _checked(optimizer)

    @property
    def optimizer(self) -> Optimizer:
        """The wrapped optimizer."""
        return self._base

    @property
    def param_groups(
        self,
    ) -> list[dict[str, Any]]:
        """The wrapped optimizer's own groups."""
        return self._base.param_groups

    @param_groups.setter
    def param_groups(self, groups: list[dict[str, Any]]) -> None:
        self._base.param_groups = groups

    @property
    def state(
        self,
    ) -> defaultdict[Any, Any]:
        """The wrapped optimizer's own state."""
        return self._base.state

    @state.setter
    def state(self, state: defaultdict[Any, Any]) -> None:
        self._base.state = state

    @property
    def defaults(self) -> dict[str, Any]:
        """The wrapped optimizer's own defaults."""
        return self._base.defaults

    @defaults.setter
    def defaults(self, defaults: dict[str, Any]) -> None:
        self._base.defaults = defaults

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the wrapped optimizer."""
        self._base.add_param_group(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Reset the gradients, as the wrapped optimizer does it."""
        self._base.zero_grad(set_to_none=set_to_none)

    def train(self) -> None:
        """Tell a schedule-free optimizer that training goes on; others need no word."""
        getattr(self._base, "train", lambda: None)()

    def eval(self) -> None:
        """Tell a schedule-free optimizer that an evaluation follows; others need no word."""
        getattr(self._base, "eval", lambda: None)()

    def register_step_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Register on the wrapped optimizer, which is what the hook receives; it sees effective values."""
        return self._base.register_step_pre_hook(hook)

    def register_step_post_hook(self, hook: Hook) -> RemovableHandle:
        """Register on the wrapped optimizer, which is what the hook receives; it sees effective values."""
        return self._base.register_step_post_hook(hook)

    def register_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Register on the wrapped optimizer, which is what the hook receives."""
        return self._base.register_state_dict_pre_hook(hook, prepend)

    def register_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Register on the wrapped optimizer, which is what the hook receives."""
        return self._base.register_state_dict_post_hook(hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Register on the wrapped optimizer, which is what the hook receives."""
        return self._base.register_load_state_dict_pre_hook(hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Register on the wrapped optimizer, which is what the hook receives."""
        return self._base.register_load_state_dict_post_hook(hook, prepend)


def _checked(optimizer: object) -> Optimizer:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"optimizer must be a torch.optim.Optimizer, got {optimizer!r} of type {type(optimizer).__name__}; "
            f"make it first, for example torch.optim.AdamW(model.parameters())"
        )
    return optimizer
