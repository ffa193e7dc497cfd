"""Run every arm of persistent_gru.py from several seeds, and append to the record that the documentation shows.

python examples/record_persistent.py ../../docs/records/torcheggroll_persistent.jsonl
"""

import argparse
import json
import platform
from pathlib import Path

import torch
from persistent_gru import ARMS, SETTINGS, train

SLOWER = 0.03  # noisy estimates may prefer a smaller rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("record", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    for seed in range(args.seeds):
        for arm, lr in [(arm, SETTINGS["lr"]) for arm in ARMS] + [("redrawn", SLOWER)]:
            result = train(arm, seed, **{**SETTINGS, "lr": lr}, say=print)
            line = {"arm": arm, "lr": lr, "seed": seed, **result, "versions": versions}
            with args.record.open("a") as record:
                record.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
