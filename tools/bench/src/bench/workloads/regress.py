"""diamonds: the log price of a diamond from its measures and grades."""

from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from bench.records.models import Family
from bench.tensors import number, seeded, tensor_of
from bench.workloads.base import Budget, GradientTask, Task, Workload, batches, evaluating
from bench.workloads.data import diamonds


def build(family: Family, budget: Budget, seed: int, device: str) -> Task:
    """The task of one seed: an MLP on standardised features."""
    features, price, split = diamonds.load()
    x, y = tensor_of(features).to(device), tensor_of(price).to(device)
    order = tensor_of(batches(split.train, budget.steps, budget.batch, seed)).to(device)
    centre = y[tensor_of(split.train)].mean()
    with seeded(seed):
        model = nn.Sequential(
            nn.Linear(x.shape[1], 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 1), nn.Flatten(0)
        ).to(device)

    def loss(step: int) -> Tensor:
        rows = order[step]
        return functional.mse_loss(model(x[rows]), y[rows] - centre)

    def error(rows: Tensor) -> float:
        with evaluating(model):
            return number(functional.mse_loss(model(x[rows]), y[rows] - centre).sqrt())

    validation, test = (tensor_of(part).to(device) for part in (split.validation, split.test))
    return GradientTask(model, loss, partial(error, validation), partial(error, test), budget.batch)


WORKLOAD = Workload(
    id="diamonds",
    title="Diamond prices",
    question="Does it fit a table of real numbers as closely as AdamW, over a run long enough for a controller to act?",
    metric="RMSE of log price",
    better="lower",
    budgets={
        "smoke": {"gradient": Budget(60, 256, 3)},
        "quick": {"gradient": Budget(600, 256, 10)},
        "full": {"gradient": Budget(3000, 256, 20)},
        "paper": {"gradient": Budget(20000, 256, 40)},
    },
    build=build,
    sources=(diamonds.SOURCE,),
    margin=0.001,
    robustness=True,
)
