"""Policies for Gymnasium, evolved by the rewards of a vector environment."""

from .episodes import EpisodeReturns
from .normalization import ObservationNormalizer
from .policy import Actor, PolicySearch, actor

__all__ = ["Actor", "EpisodeReturns", "ObservationNormalizer", "PolicySearch", "actor"]
