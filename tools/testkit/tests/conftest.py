"""Lets the tests import the optimizers that stand beside them, which pickle and the replicas do by name too."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "optimizers"))
