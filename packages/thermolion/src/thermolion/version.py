"""The installed version, as the package's metadata states it."""

from importlib.metadata import version

__version__ = version("thermolion")

__all__ = ["__version__"]
