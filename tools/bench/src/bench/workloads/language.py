"""shakespeare: a byte-level language model; plays of validation and test are never trained on."""

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.records.models import Family
from bench.tensors import number, outputs, parts, seeded, tensor_of
from bench.workloads.base import Budget, GradientTask, Task, Workload, evaluating
from bench.workloads.data import plays

CONTEXT = 32
WIDTH, LAYERS, HEADS, BYTES = 64, 2, 4, 256


class Block(nn.Module):
    """Attention and a feed-forward net, each after a norm, each added to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, time, width) to the same shape, causally."""
        batch, time, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, time, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + outputs(self.out, mixed.transpose(1, 2).reshape(batch, time, width))
        return x + outputs(self.mlp, self.norm2(x))


class ByteModel(nn.Module):
    """A GPT of width 64 with 2 layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(BYTES, WIDTH)
        self.position = nn.Parameter(torch.zeros(CONTEXT, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, BYTES)
        nn.init.normal_(self.embed.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the next byte, (batch, time, 256)."""
        hidden = self.blocks(self.embed(x) + self.position[: x.shape[1]])
        return outputs(self.head, self.norm(hidden))


def windows(text: Tensor, count: int, seed: int) -> Tensor:
    """``count`` stretches of CONTEXT + 1 bytes, places drawn from the seed."""
    generator = np.random.Generator(np.random.PCG64([seed, 4]))
    starts = tensor_of(generator.integers(0, len(text) - CONTEXT - 1, size=count))
    return text[starts[:, None] + torch.arange(CONTEXT + 1)].long()


def build(family: Family, budget: Budget, seed: int, device: str) -> Task:
    """The task of one seed; validation and test windows are the same for every seed."""
    text = {name: tensor_of(part) for name, part in plays.load().items()}
    train = windows(text["train"], budget.steps * budget.batch, seed).to(device)
    train = train.view(budget.steps, budget.batch, CONTEXT + 1)
    with seeded(seed):
        model = ByteModel().to(device)

    def nats(rows: Tensor) -> Tensor:
        logits = model(rows[:, :-1])
        return functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())

    def bits(held_out: Tensor) -> float:
        with evaluating(model):
            stretches = [number(nats(part)) for part in parts(held_out, 64)]
        return sum(stretches) / len(stretches) / math.log(2)

    validation = windows(text["validation"], 192, 0).to(device)
    test = windows(text["test"], 512, 0).to(device)
    samples = budget.batch * CONTEXT
    return GradientTask(model, lambda step: nats(train[step]), partial(bits, validation), partial(bits, test), samples)


WORKLOAD = Workload(
    id="shakespeare",
    title="Shakespeare's bytes",
    question="Does it train a small transformer as well as AdamW?",
    metric="bits per byte",
    better="lower",
    budgets={
        "smoke": {"gradient": Budget(12, 16, 2)},
        "quick": {"gradient": Budget(120, 16, 10)},
        "full": {"gradient": Budget(1600, 32, 20)},
        "paper": {"gradient": Budget(4000, 32, 40)},
    },
    build=build,
    sources=(plays.SOURCE,),
    margin=0.02,
)
