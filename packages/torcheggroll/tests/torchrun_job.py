"""Run the torchrun example; with KILL_AT, rank 1 of the first start kills itself in that step."""

import importlib.util
import os
import signal
from pathlib import Path

from torcheggroll import TorchEggrollES

step = TorchEggrollES.step


def dying(self, *args, **kwargs):
    first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    if first and os.environ["RANK"] == "1" and str(self.epoch) == os.environ.get("KILL_AT"):
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *args, **kwargs)


TorchEggrollES.step = dying
path = Path(__file__).parents[1] / "examples" / "torchrun_es.py"
spec = importlib.util.spec_from_file_location("torchrun_es", path)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.main()
