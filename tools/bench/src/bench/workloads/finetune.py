"""minilm: fine-tune a real pretrained transformer (22.7 M parameters) to tell the genre of plays it has not seen."""

import importlib
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.records.models import Family
from bench.tensors import number, outputs, parts, seeded, tensor_of
from bench.workloads.base import Budget, GradientTask, Task, Workload, batches, evaluating
from bench.workloads.data import minilm, plays
from bench.workloads.data.plays import GENRES

WORDS, TOKENS = 24, 40


@cache
def library() -> Any:
    """Transformers, without its progress bars: the terminal belongs to the bench."""
    transformers: Any = importlib.import_module("transformers")
    transformers.utils.logging.disable_progress_bar()
    return transformers


@cache
def chunks() -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Per part: token numbers, attention mask, genre of stretches of 24 words."""
    tokenizer = library().AutoTokenizer.from_pretrained(str(minilm.folder()))
    found: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    for part, texts in plays.by_genre().items():
        rows = [
            (" ".join(words[i : i + WORDS]), GENRES.index(genre))
            for genre, text in texts
            for words in [text.split()]
            for i in range(0, len(words) - WORDS, WORDS * 4)
        ]
        encoded = tokenizer(
            [text for text, _ in rows], padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
        )
        found[part] = (encoded["input_ids"], encoded["attention_mask"], torch.tensor([genre for _, genre in rows]))
    return found


class Classifier(nn.Module):
    """The pretrained encoder, its mean over tokens, and a linear head; products in bfloat16, all else in float32."""

    def __init__(self) -> None:
        super().__init__()
        encoder = library().AutoModel.from_pretrained(str(minilm.folder()))
        self.encoder: nn.Module = encoder
        self.head = nn.Linear(int(encoder.config.hidden_size), len(GENRES))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Logits of the genres."""
        with torch.autocast(tokens.device.type, torch.bfloat16):
            found: Any = self.encoder(input_ids=tokens, attention_mask=mask)
        states: Tensor = found.last_hidden_state.float()
        weight = mask[..., None].to(states.dtype)
        return outputs(self.head, (states * weight).sum(1) / weight.sum(1))


def build(family: Family, budget: Budget, seed: int, device: str) -> Task:
    """The task of one seed."""
    data = {part: tuple(tensor.to(device) for tensor in tensors) for part, tensors in chunks().items()}
    tokens, mask, genre = data["train"]
    order = tensor_of(batches(np.arange(len(genre)), budget.steps, budget.batch, seed)).to(device)
    with seeded(seed):
        model = Classifier().to(device)

    def loss(step: int) -> Tensor:
        rows = order[step]
        return functional.cross_entropy(model(tokens[rows], mask[rows]), genre[rows])

    def accuracy(part: str, limit: int) -> float:
        held = data[part]
        rows = tensor_of(np.random.Generator(np.random.PCG64(0)).permutation(len(data[part][2]))[:limit])
        with evaluating(model):
            hits = [
                number((outputs(model, held[0][some], held[1][some]).argmax(-1) == held[2][some]).sum())
                for some in parts(rows.to(device), 32)
            ]
        return sum(hits) / len(rows)

    return GradientTask(
        model,
        loss,
        partial(accuracy, "validation", budget.rows or 96),
        partial(accuracy, "test", budget.rows or 400),
        budget.batch,
    )


WORKLOAD = Workload(
    id="minilm",
    title="Fine-tuning MiniLM",
    question="Does it fine-tune a pretrained transformer as well as AdamW?",
    metric="accuracy",
    better="higher",
    budgets={
        "smoke": {"gradient": Budget(3, 8, 1)},
        "full": {"gradient": Budget(220, 16, 10, rows=1000)},
        "paper": {"gradient": Budget(400, 16, 10, rows=1000)},
    },
    build=build,
    sources=(plays.SOURCE, minilm.SOURCE),
    lr_factor=0.1,  # pretrained weights want smaller steps
    extra="minilm",
)
