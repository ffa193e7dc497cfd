"""Earlier releases that cannot be installed beside ours, imported from a folder that the user names."""

import importlib.util
import os
from pathlib import Path
from typing import Any

TORCHEGGROLL_020 = "TORCHEGGROLL_020"  # environment variable: the folder that holds the package of release 0.2.0


def torcheggroll_020() -> Any:
    """TorchEggrollES of release 0.2.0, under another module name; None where its folder is not named.

    Raises:
        FileNotFoundError: the folder does not hold the package.
    """
    folder = os.environ.get(TORCHEGGROLL_020)
    if folder is None:
        return None
    path = Path(folder) / "torcheggroll" / "es.py"
    if not path.is_file():
        raise FileNotFoundError(
            f"{TORCHEGGROLL_020} must name the folder that holds torcheggroll 0.2.0, got {folder!r}; "
            "unpack its source distribution and give the path of src"
        )
    spec = importlib.util.spec_from_file_location("torcheggroll_020", path)
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.TorchEggrollES
