"""Loss- and reward-driven control of lr, momentum, betas, alpha and weight decay around any PyTorch optimizer."""

from importlib.metadata import version

from adaptive_optimizer.adaptive_optimizer import AdaptiveOptimizer
from adaptive_optimizer.rules import RULES, Rule, Signal, register_rule

__version__ = version("adaptive-optimizer")

__all__ = ["RULES", "AdaptiveOptimizer", "Rule", "Signal", "register_rule"]
