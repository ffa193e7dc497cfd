"""Solve a game from several seeds, and append one line for each to the record that the documentation shows.

Seeds that the record has already are not played again.

python examples/record_rl.py ../../docs/records/torcheggroll_rl.jsonl --game CartPole-v1 --bits 4
"""

import argparse
import json
import platform
from pathlib import Path

import acrobot
import cartpole
import gymnasium
import torch

SETTINGS = {"CartPole-v1": cartpole.SETTINGS, "Acrobot-v1": acrobot.SETTINGS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("record", type=Path)
    parser.add_argument("--game", choices=SETTINGS, default="CartPole-v1")
    parser.add_argument("--bits", type=int, choices=(4, 8), default=None)
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    versions = {"torch": torch.__version__, "gymnasium": gymnasium.__version__, "python": platform.python_version()}
    known = [json.loads(line) for line in args.record.read_text().splitlines()] if args.record.exists() else []
    played = {line["seed"] for line in known if (line["game"], line["bits"]) == (args.game, args.bits)}
    for seed in sorted({*range(args.seeds)} - played):
        result = cartpole.train(args.game, seed, args.bits, episodes=100, **SETTINGS[args.game])
        line = {"game": args.game, "bits": args.bits, "seed": seed, **result, "versions": versions}
        with args.record.open("a") as record:
            record.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
