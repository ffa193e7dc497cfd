"""Text and worlds: members that write beside the model's own ``generate``, torch worlds beside Gymnasium's.

Sixteen members continue eight prompts each; pure inference is the unperturbed model on as many rows, sampling by
Transformers' own ``generate``. One round writes the same number of tokens everywhere: no text ends early.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torcheggroll import TorchEggrollES
from torcheggroll.rl.worlds import CartPole

from bench.speed.measure import Bar, NumberCase, SpeedCase
from bench.tensors import seeded

PURE = "pure inference"
MEMBERS, PROMPTS, LENGTH, VOCABULARY = 16, 8, 16, 512
WORLDS = 4096


def language_model(width: int) -> Any:
    """Returns a Llama of 4 layers without an end token."""
    from transformers import LlamaConfig, LlamaForCausalLM

    made: Any = LlamaConfig
    config = made(
        vocab_size=VOCABULARY, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=4,
        num_attention_heads=width // 64, max_position_embeddings=128, bos_token_id=None, eos_token_id=None,
        pad_token_id=0,
    )  # fmt: skip
    with seeded(0):
        model: Any = LlamaForCausalLM(config)
    return model.eval()


def written(width: int, tokens: int, device: str) -> Mapping[str, Callable[[], None]]:
    """Builds both ways of writing ``tokens`` behind every prompt."""
    model = language_model(width).to(device)
    with seeded(1):
        prompts = torch.randint(1, VOCABULARY, (PROMPTS, LENGTH)).to(device)
    es = TorchEggrollES(model, pop_size=MEMBERS, sigma=0.02, rank=1, seed=0, engine="fold")
    rows, mask = prompts.repeat(MEMBERS, 1), torch.ones(MEMBERS * PROMPTS, LENGTH, dtype=torch.int64, device=device)

    def pure() -> None:
        with torch.no_grad():
            model.generate(
                input_ids=rows, attention_mask=mask, max_new_tokens=tokens, do_sample=True, temperature=0.7, top_k=0
            )

    def members() -> None:
        es.generate(prompts, tokens, eos_token_id=())

    return {PURE: pure, f"{MEMBERS} members": members}


def times_gymnasium(device: str) -> Mapping[str, float]:
    """Measures how many times as many steps a second torch worlds make, on one thread."""
    import gymnasium

    make: Any = gymnasium.make_vec
    ways = {"one world after the other": "sync", "its worlds in NumPy": "vector_entry_point"}
    return {name: _steps_a_second(CartPole(WORLDS)) / _steps_a_second(make("CartPole-v1", WORLDS, way))
            for name, way in ways.items()}  # fmt: skip


def _steps_a_second(worlds: Any, steps: int = 20) -> float:
    """Pushes every world to and fro, by the seconds of this process; the best of three."""
    actions: Any = torch.arange(WORLDS) % 2
    if not hasattr(worlds, "takes_tensors"):
        actions = actions.numpy()
    best = 0.0
    worlds.reset(seed=0)
    for _ in range(3):
        began = time.process_time()
        for _ in range(steps):
            worlds.step(actions)
        best = max(best, WORLDS * steps / (time.process_time() - began))
    worlds.close()
    return best


CASES: list[SpeedCase | NumberCase] = [
    *(
        SpeedCase(
            f"generate, hidden {width}, 4 layers, 16 members x 8 prompts, rank 1", "torcheggroll",
            partial(written, width, tokens), PURE, (Bar(f"{MEMBERS} members", bar, "percent at least"),), rounds=rounds,
        )
        for width, tokens, bar, rounds in ((256, 32, 60.0, 7), (768, 16, 75.0, 3))
        if find_spec("transformers") is not None
    ),
    *(
        [NumberCase("steps of 4,096 worlds over Gymnasium's, CartPole", "torcheggroll", times_gymnasium, "times",
                    (Bar("one world after the other", 20.0, "number at least"),
                     Bar("its worlds in NumPy", 1.0, "number at least")))]
        if find_spec("gymnasium") is not None else []
    ),
]  # fmt: skip
