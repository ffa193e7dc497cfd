"""Controllers: they choose the next arm, given the rewards so far."""

from pulseopt._bandits.arms import BaseController
from pulseopt._bandits.baselines import FixedModeController, RandomController
from pulseopt._bandits.contextual import BucketedContextualController
from pulseopt._bandits.ucb import DiscountedUCBController
from pulseopt._maths.context import TREND_CONTEXT_BUCKETS, TREND_PHASE_CONTEXT_BUCKETS

__all__ = [
    "TREND_CONTEXT_BUCKETS",
    "TREND_PHASE_CONTEXT_BUCKETS",
    "BaseController",
    "BucketedContextualController",
    "DiscountedUCBController",
    "FixedModeController",
    "RandomController",
]
