"""The whole suite runs on all cores; a file or folder that is named runs in one process."""

import os

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Ask for one worker per core where nobody chose, before pytest-xdist reads its options."""
    whole = config.args_source is not pytest.Config.ArgsSource.ARGS
    worker = "PYTEST_XDIST_WORKER" in os.environ  # a worker reads this file too, and must not start workers
    if whole and not worker and config.pluginmanager.hasplugin("xdist") and config.option.numprocesses is None:
        config.option.numprocesses = "auto"
        config.option.dist = "worksteal"
