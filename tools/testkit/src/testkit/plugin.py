"""The pytest plugin: every test starts from the same seeds, on one thread."""

import random
import sys
from types import ModuleType

import pytest

SEED = 1729


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Seeds the streams of Python and, where they are loaded, of torch and NumPy, before each test."""
    random.seed(SEED)
    torch = _loaded("torch")
    if torch is not None:
        torch.manual_seed(SEED)
        if torch.get_num_threads() != 1:
            torch.set_num_threads(1)
    numpy = _loaded("numpy")
    if numpy is not None:
        numpy.random.seed(SEED)


def pytest_unconfigure() -> None:
    """Ends the replica processes that a check may have started."""
    replicas = sys.modules.get("testkit.replicas")
    if replicas is not None:
        replicas.end_replicas()


def _loaded(name: str) -> ModuleType | None:
    """Returns a module that someone else has imported; one that is missing, or half imported, is None."""
    module = sys.modules.get(name)
    return module if hasattr(module, "__version__") else None
