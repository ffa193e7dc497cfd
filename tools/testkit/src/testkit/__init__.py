"""Conformance checks for optimizers, as functions that a test can call."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from testkit.case import Case, TrialCase
    from testkit.checks import CHECKS, TRIAL_CHECKS
    from testkit.contract import Contract
    from testkit.host_reads import HostReads, count_host_reads
    from testkit.trial import OptimizerTrial, Trial

__all__ = [
    "CHECKS",
    "TRIAL_CHECKS",
    "Case",
    "Contract",
    "HostReads",
    "OptimizerTrial",
    "Trial",
    "TrialCase",
    "count_host_reads",
]

_HOMES = {
    "CHECKS": "testkit.checks",
    "TRIAL_CHECKS": "testkit.checks",
    "Case": "testkit.case",
    "Contract": "testkit.contract",
    "HostReads": "testkit.host_reads",
    "OptimizerTrial": "testkit.trial",
    "Trial": "testkit.trial",
    "TrialCase": "testkit.case",
    "count_host_reads": "testkit.host_reads",
}


def __getattr__(name: str) -> Any:
    """Imports a public name on first use: pytest loads this package for its plugin, which must not import torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
