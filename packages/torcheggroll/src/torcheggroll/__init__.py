"""EGGROLL: low-rank evolution strategies for any PyTorch module, with a factored forward."""

import sys
from importlib.metadata import version

from .diagnostics import Diagnostics
from .es import (
    TorchEggrollES,
    compute_es_gradient,
    generate_lora_noise,
    generate_noise_for_shapes,
    generate_standard_noise,
)
from .filters import target_modules
from .noise import seeded
from .population import MemberSpec, Population
from .rl import normalization

__version__ = version("torcheggroll")
__all__ = [
    "Diagnostics",
    "MemberSpec",
    "Population",
    "TorchEggrollES",
    "compute_es_gradient",
    "generate_lora_noise",
    "generate_noise_for_shapes",
    "generate_standard_noise",
    "target_modules",
]

# paths of 0.3.0 that users may hold
sys.modules |= {f"{__name__}.seeded_noise": seeded, f"{__name__}.normalization": normalization}
