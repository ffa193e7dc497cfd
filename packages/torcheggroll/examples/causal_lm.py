"""Train a causal language model of Transformers by evolution: chosen modules, one fitness per prompt.

pip install transformers
python examples/causal_lm.py --architecture llama
"""

import argparse
import math
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torcheggroll import TorchEggrollES, target_modules

TARGETS = {
    "gpt2": ("wte", "c_attn", "c_proj", "c_fc"),
    "llama": ("embed_tokens", "q_proj", "v_proj", "o_proj", "up_proj", "down_proj", "lm_head"),
}


def build(architecture: str) -> nn.Module:
    """Make a small, randomly initialised model of bytes."""
    import transformers

    common: dict[str, Any] = {"vocab_size": 256, "use_cache": False, "bos_token_id": None, "eos_token_id": None}
    if architecture == "gpt2":
        config = transformers.GPT2Config(n_positions=64, n_embd=32, n_layer=2, n_head=2, **common)
        return transformers.GPT2LMHeadModel(config)
    llama = transformers.LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=64,
        **common,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(llama)


def prompt_losses(outputs: Any, tokens: Tensor) -> Tensor:
    """Give one loss per prompt: what ``fitness="question"`` centres prompt by prompt."""
    return functional.cross_entropy(outputs.logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none").mean(1)


def windows(data: Tensor, count: int, length: int, generator: torch.Generator) -> Tensor:
    """Draw stretches of text."""
    at = torch.randint(0, len(data) - length, (count, 1), generator=generator)
    return data[at + torch.arange(length)].long()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architecture", choices=list(TARGETS), default="gpt2")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--pop-size", type=int, default=64)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--sigma", type=float, default=0.02)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    data = torch.frombuffer(bytearray(files("pydoc_data").joinpath("topics.py").read_bytes()), dtype=torch.uint8)
    held_out = windows(data[-len(data) // 10 :], 64, 32, generator)
    model = build(args.architecture)
    es = TorchEggrollES(
        model, args.pop_size, args.sigma, args.lr, 1, seed=args.seed, optimizer=torch.optim.Adam, fitness="question",
        param_filter=target_modules(TARGETS[args.architecture]),
    )  # fmt: skip
    bits = math.nan
    for step in range(args.steps):
        tokens = windows(data[: -len(data) // 10], args.prompts, 32, generator)
        es.step({"input_ids": tokens}, prompt_losses, tokens)
        if step % 20 == 19 or step == args.steps - 1:
            model.eval()
            with torch.no_grad():
                bits = float(prompt_losses(model(held_out), held_out).mean()) / math.log(2)
            print(f"step {step + 1:4d}  held-out bits per byte {bits:.3f}  engine {es.evaluator.last}", flush=True)
    print(f"{args.architecture}: {bits:.3f} bits per byte after {args.steps} steps")


if __name__ == "__main__":
    main()
