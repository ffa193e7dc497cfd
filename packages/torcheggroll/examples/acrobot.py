"""Swing an arm up by evolution, where the first reward is far away.

python examples/acrobot.py --seed 0
python examples/acrobot.py --seed 0 --bits 8
"""

from typing import Any

from cartpole import SETTINGS as CARTPOLE
from cartpole import arguments, train

SETTINGS: dict[str, Any] = {**CARTPOLE, "generations": 60, "good": -85.0}


if __name__ == "__main__":
    result = train("Acrobot-v1", **arguments(**SETTINGS))
    print(f"mean return of the policy: {result['return']:.1f}")
