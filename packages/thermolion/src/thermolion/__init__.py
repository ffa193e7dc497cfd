"""Lion-style sign steps blended with variance-normalised steps and annealed noise, as a PyTorch optimizer."""

from thermolion.optimizers import ThermoLion
from thermolion.version import __version__

__all__ = ["ThermoLion", "__version__"]
