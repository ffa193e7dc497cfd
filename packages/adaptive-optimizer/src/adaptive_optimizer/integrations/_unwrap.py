"""An ``AdaptiveOptimizer`` inside the wrappers that trainers put around it."""

from adaptive_optimizer.adaptive_optimizer import AdaptiveOptimizer


def unwrapped(optimizer: object, name: str, hint: str) -> AdaptiveOptimizer:
    """Returns the ``AdaptiveOptimizer`` inside the wrapper of a strategy or of Accelerate.

    Args:
        optimizer: the trainer's optimizer.
        name: its name in the error message.
        hint: the advice in the error message.

    Raises:
        TypeError: the optimizer is another one.
    """
    found = optimizer
    while not isinstance(found, AdaptiveOptimizer):
        inner: object = getattr(found, "optimizer", None)
        if inner is None or inner is found:
            raise TypeError(f"{name} must be an AdaptiveOptimizer, got {type(optimizer).__name__}; {hint}")
        found = inner
    return found
