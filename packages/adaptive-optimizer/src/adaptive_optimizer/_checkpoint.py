"""Reading the controller's part of a checkpoint, before anything is changed."""

import warnings
from collections.abc import Mapping
from typing import Any

from adaptive_optimizer._controller import Controller

VERSION = 1


def read_into(controller: Controller, adaptive: Mapping[str, Any], rules: Mapping[str, str]) -> None:
    """Load ``adaptive`` into a fresh ``controller``; warn where it was made with other rules.

    Raises:
        ValueError: it was saved by another release, or a part is missing.
    """
    if adaptive.get("version") != VERSION:
        raise ValueError(
            f"state_dict['adaptive']['version'] must be {VERSION}, got {adaptive.get('version')!r}; "
            f"it was saved by another release: load it there"
        )
    missing = {"controller", "intake", "rules", "used"} - adaptive.keys()
    try:
        controller.load_state_dict(adaptive["controller"])
    except KeyError as error:
        missing.add(str(error.args[0]))
    if missing:
        raise ValueError(f"state_dict['adaptive'] must be complete, but {', '.join(sorted(missing))} is missing")
    if adaptive["rules"] != rules:
        warnings.warn(
            f"the checkpoint was made with {adaptive['rules']}, this optimizer has {rules}: "
            f"rules that both have go on, others start anew",
            UserWarning,
            stacklevel=3,
        )
