"""The paths that a step can take: a test with an argument ``path`` and no list of its own runs on each."""

import shutil
from importlib.util import find_spec

import pytest

COMPILER = shutil.which("c++") and (shutil.which("ninja") or find_spec("ninja")) and find_spec("setuptools")
PATHS = {
    "default": {},
    "reference": {"foreach": False, "fused": False},
    "foreach": {"foreach": True},
    "capturable": {"capturable": True},
    "fused": {"fused": True},
}


@pytest.fixture(params=PATHS.values(), ids=PATHS)
def path(request):
    if request.param.get("fused") and not COMPILER:
        pytest.skip("needs a C++ compiler, ninja, setuptools")
    return request.param
