"""Trainers that feed losses and rewards for you; each module needs its trainer installed."""

from adaptive_optimizer.adaptive_optimizer import AdaptiveOptimizer


def unwrapped(optimizer: object, name: str, hint: str) -> AdaptiveOptimizer:
    """Returns the ``AdaptiveOptimizer`` inside what a strategy or Accelerate wrapped around it.

    Args:
        optimizer: the trainer's optimizer.
        name: what the message calls it.
        hint: what the message tells to do.

    Raises:
        TypeError: there is another optimizer.
    """
    found = optimizer
    while not isinstance(found, AdaptiveOptimizer):
        inner: object = getattr(found, "optimizer", None)
        if inner is None or inner is found:
            raise TypeError(f"{name} must be an AdaptiveOptimizer, got {type(optimizer).__name__}; {hint}")
        found = inner
    return found
