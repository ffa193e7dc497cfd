"""AEES: bandit control of a learning-rate multiplier and a gradient-noise level around any PyTorch optimizer."""

from importlib.metadata import version

from pulseopt import legacy as legacy
from pulseopt.controller import (
    TREND_CONTEXT_BUCKETS,
    TREND_PHASE_CONTEXT_BUCKETS,
    BaseController,
    BucketedContextualController,
    DiscountedUCBController,
    RandomController,
)
from pulseopt.episode import EpisodeManager, StructuredEpisodeManager
from pulseopt.modes import build_candidate_configs_from_axes
from pulseopt.optimizer import AdaptiveModeAdamW, AdaptiveModeSGD
from pulseopt.reward import BaseReward, NormalizedLossImprovementReward, RelativeImprovementReward
from pulseopt.scheduler import AEES
from pulseopt.types import CandidateConfig, EpisodeSummary, StructuredSelection

__version__ = version("pulseopt")

__all__ = [
    "AEES",
    "TREND_CONTEXT_BUCKETS",
    "TREND_PHASE_CONTEXT_BUCKETS",
    "AdaptiveModeAdamW",
    "AdaptiveModeSGD",
    "BaseController",
    "BaseReward",
    "BucketedContextualController",
    "CandidateConfig",
    "DiscountedUCBController",
    "EpisodeManager",
    "EpisodeSummary",
    "NormalizedLossImprovementReward",
    "RandomController",
    "RelativeImprovementReward",
    "StructuredEpisodeManager",
    "StructuredSelection",
    "build_candidate_configs_from_axes",
]
