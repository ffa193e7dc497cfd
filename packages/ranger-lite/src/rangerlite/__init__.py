"""RAdam and Lookahead in one PyTorch optimizer, with slow weights you can evaluate."""

from importlib.metadata import version

from .rangerlite import RangerLite

__all__ = ["RangerLite", "__version__"]

__version__ = version("ranger-lite")
