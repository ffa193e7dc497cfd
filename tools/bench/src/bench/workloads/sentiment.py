"""sentiment: is a short text negative, neutral or positive? A convolution over bytes, labels given by people."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.records.models import Family
from bench.tensors import number, outputs, parts, seeded, tensor_of
from bench.workloads.base import Budget, GradientTask, Task, Workload, batches, evaluating
from bench.workloads.data import tweets

WIDTH = 64


class ByteConvolution(nn.Module):
    """Embedded bytes, two convolutions, the largest answer over the text, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(256, 32)
        self.first = nn.Conv1d(32, WIDTH, 5, stride=2, padding=2)
        self.second = nn.Conv1d(WIDTH, WIDTH, 5, stride=2, padding=2)
        self.hidden, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, len(tweets.LABELS))

    def forward(self, text: Tensor) -> Tensor:
        """Returns logits (batch, 3) of texts (batch, bytes)."""
        seen = functional.relu(outputs(self.first, outputs(self.embed, text).mT))
        seen = functional.relu(outputs(self.second, seen)).amax(-1)
        return outputs(self.head, functional.relu(outputs(self.hidden, seen)))


def build(family: Family, budget: Budget, seed: int, device: str) -> Task:
    """Returns the task of one seed."""
    texts, labels, split = tweets.load()
    x, y = tensor_of(texts).to(device, torch.long), tensor_of(labels).to(device)
    order = tensor_of(batches(split.train, budget.steps, budget.batch, seed)).to(device)
    with seeded(seed):
        model = ByteConvolution().to(device)

    def loss(step: int) -> Tensor:
        rows = order[step]
        return functional.cross_entropy(model(x[rows]), y[rows])

    def accuracy(rows: Tensor) -> float:
        with evaluating(model):
            hits = [number((outputs(model, x[some]).argmax(1) == y[some]).sum()) for some in parts(rows, 256)]
        return sum(hits) / len(rows)

    validation, test = (tensor_of(part).to(device) for part in (split.validation[:1500], split.test))
    return GradientTask(model, loss, partial(accuracy, validation), partial(accuracy, test), budget.batch)


WORKLOAD = Workload(
    id="sentiment",
    title="Sentiment of short texts",
    question="Does it train a text classifier on labels given by people?",
    metric="accuracy",
    better="higher",
    budgets={
        "smoke": {"gradient": Budget(6, 32, 2)},
        "quick": {"gradient": Budget(200, 64, 10)},
        "full": {"gradient": Budget(1900, 64, 20)},
        "paper": {"gradient": Budget(6000, 64, 40)},
    },
    build=build,
    sources=(tweets.SOURCE,),
    margin=0.01,
)
