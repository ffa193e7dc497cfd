"""The promises that every optimizer of the workspace keeps, as checks that a test can call."""

from testkit.case import Case, TrialCase
from testkit.contract import Contract
from testkit.host_reads import HostReads, count_host_reads
from testkit.promises import PROMISES, TRIAL_PROMISES
from testkit.trial import OptimizerTrial, Trial

__all__ = [
    "PROMISES",
    "TRIAL_PROMISES",
    "Case",
    "Contract",
    "HostReads",
    "OptimizerTrial",
    "Trial",
    "TrialCase",
    "count_host_reads",
]
