"""Let Ray actors write and score: members travel to them as specs, scores come back, weights never move.

pip install "torcheggroll[ray]"
python examples/ray_members.py --actors 2 --steps 20

Without --address a cluster begins on this machine; actors take GPUs by --gpus, a fraction or more of one each.
"""

import argparse
from itertools import pairwise

import ray
import torch
from torch import Tensor, nn
from torcheggroll import TorchEggrollES


class Bigram(nn.Embedding):
    """The smallest language model: what follows a letter depends on that letter alone."""

    def forward(self, tokens: Tensor, cache: None = None) -> tuple[Tensor, None]:
        """``(rows, T)`` letters to ``(rows, T, 26)`` logits."""
        return super().forward(tokens), cache


def ascending(prompt: list[int], text: list[int]) -> float:
    """The share of letters that come after the one before in the alphabet."""
    return sum(a < b for a, b in pairwise(text)) / (len(text) - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--gpus", type=float, default=0.0)
    parser.add_argument("--address", default=None)
    args = parser.parse_args()
    ray.init(address=args.address, include_dashboard=False)
    torch.manual_seed(0)
    es = TorchEggrollES(Bigram(26, 26), pop_size=64, sigma=0.3, lr=2.0, seed=0, fitness="question", process_group=False)
    prompts = [[0], [7], [13]]
    with es.remote_members(args.actors, num_gpus=args.gpus) as members:
        for step in range(args.steps):
            mean = members.step_reward(prompts, ascending, max_new_tokens=12)
            print(f"step {step + 1}  share of ascending letters {mean:.3f}", flush=True)
    for text in es.generate(prompts, 12, centre=True).sequences(0):
        print("".join(chr(97 + letter) for letter in text))


if __name__ == "__main__":
    main()
