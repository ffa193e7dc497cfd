"""mnist5k: digits, clean or with noisy training labels. Validation and test labels are always clean."""

from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from bench.records.models import Family
from bench.tensors import number, outputs, seeded, tensor_of
from bench.workloads.base import Budget, GradientTask, Task, Workload, batches, evaluating
from bench.workloads.data import mnist5k
from bench.workloads.data.splits import Ints, Split, asymmetric_noise, symmetric_noise

MISTAKEN_FOR = {7: 1, 2: 7, 5: 6, 6: 5, 3: 8}


def network() -> nn.Module:
    """A small convolutional network, 106 k parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def training_labels(noise: str, labels: Ints, split: Split, seed: int) -> Ints:
    """Labels to train on: ``none``, ``symmetric`` (40 % of them) or ``asymmetric`` (40 % of five classes)."""
    if noise == "symmetric":
        return symmetric_noise(labels, split, share=0.4, classes=10, seed=seed)
    if noise == "asymmetric":
        return asymmetric_noise(labels, split, share=0.4, pairs=MISTAKEN_FOR, seed=seed)
    return labels


def build(noise: str, family: Family, budget: Budget, seed: int, device: str) -> Task:
    """The task of one seed."""
    images, labels, split = mnist5k.load()
    x = tensor_of(images).to(device)
    clean = tensor_of(labels).to(device)
    noisy = tensor_of(training_labels(noise, labels, split, seed)).to(device)
    order = tensor_of(batches(split.train, budget.steps, budget.batch, seed)).to(device)
    with seeded(seed):
        model = network().to(device)

    def loss(step: int) -> Tensor:
        rows = order[step]
        return functional.cross_entropy(model(x[rows]), noisy[rows])

    def accuracy(rows: Tensor) -> float:
        with evaluating(model):
            return number((outputs(model, x[rows]).argmax(1) == clean[rows]).float().mean())

    validation, test = (tensor_of(part).to(device) for part in (split.validation, split.test))
    return GradientTask(model, loss, partial(accuracy, validation), partial(accuracy, test), budget.batch)


def _workload(id: str, title: str, question: str, noise: str) -> Workload:
    return Workload(
        id=id,
        title=title,
        question=question,
        metric="accuracy",
        better="higher",
        budgets={
            "smoke": {"gradient": Budget(30, 64, 3)},
            "quick": {"gradient": Budget(150, 64, 10)},
            "full": {"gradient": Budget(840, 64, 20)},
            "paper": {"gradient": Budget(2000, 128, 40)},
        },
        build=partial(build, noise),
        sources=(mnist5k.SOURCE,),
        margin=0.01,
        short=4 if noise == "none" else 1,  # wrong labels are learnt late: a short run favours rates too high
    )


CLEAN = _workload("mnist5k", "Digits", "Does it learn a clean image task as well as AdamW?", "none")
SYMMETRIC = _workload(
    "mnist5k-noise",
    "Digits with 40 % wrong labels",
    "Does it resist training labels of which 40 % are random?",
    "symmetric",
)
ASYMMETRIC = _workload(
    "mnist5k-asym",
    "Digits with mistaken classes",
    "Does it resist labels that are wrong in a systematic way (7 for 1, 2 for 7, 5 and 6, 3 for 8)?",
    "asymmetric",
)
