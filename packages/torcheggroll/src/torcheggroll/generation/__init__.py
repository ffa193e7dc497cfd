"""Text generation by the members of a population, and rewards for the texts."""

from .generate import Generated
from .progress import ProgressLine
from .rewards import RewardPool, Scores
from .sampling import GumbelNoise
from .step import RewardReport

__all__ = ["Generated", "GumbelNoise", "ProgressLine", "RewardPool", "RewardReport", "Scores"]
