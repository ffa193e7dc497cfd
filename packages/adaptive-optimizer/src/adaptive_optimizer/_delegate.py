"""Attributes of a wrapper that are delegated to the wrapped optimizer.

Each access reads the attribute of the wrapped optimizer. A copied reference would go stale as soon as other code
(``load_state_dict``, Accelerate, a sharding library) replaces the object there.
"""

from typing import Generic, Protocol, TypeVar

from torch.optim import Optimizer

T = TypeVar("T")


class Wrapper(Protocol):
    """Anything that holds an optimizer."""

    @property
    def optimizer(self) -> Optimizer:
        """The wrapped optimizer."""
        ...


class Delegated(Generic[T]):
    """An attribute of the same name, read from and written to the wrapped optimizer."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Wrapper, owner: type) -> T:
        value: T = getattr(instance.optimizer, self._name)
        return value

    def __set__(self, instance: Wrapper, value: T) -> None:
        setattr(instance.optimizer, self._name, value)


def checked_optimizer(optimizer: object) -> Optimizer:
    """Returns ``optimizer`` if it is one.

    Raises:
        TypeError: ``optimizer`` is not a ``torch.optim.Optimizer``.
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"optimizer must be a torch.optim.Optimizer, got {optimizer!r} of type {type(optimizer).__name__}; "
            f"make it first, for example torch.optim.AdamW(model.parameters())"
        )
    return optimizer
