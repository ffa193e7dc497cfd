"""ThermoLion as a plain optimizer of real trainers."""

import copy
import warnings

import pytest
import torch
from thermolion import ThermoLion
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR


def problem():
    torch.manual_seed(0)
    points = torch.randn(64, 4)
    return nn.Linear(4, 2), points, (points.sum(dim=1) > 0).long()


def train(model, optimizer, points, labels, steps, between=lambda: None):
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(points), labels)
        loss.backward()
        optimizer.step()
        between()
    return loss.item()


@pytest.mark.parametrize("rate", [1e-3, torch.tensor(1e-3, dtype=torch.float64)], ids=["float", "tensor"])
def test_one_cycle_is_obeyed(rate):
    model, points, labels = problem()
    optimizer = ThermoLion(model.parameters(), lr=rate, seed=1)
    rates = []
    schedule = OneCycleLR(optimizer, 0.05, total_steps=20, cycle_momentum=False)
    rates = []

    def between():
        schedule.step()
        rates.append(float(optimizer.param_groups[0]["lr"]))

    train(model, optimizer, points, labels, 19, between)
    assert max(rates) == pytest.approx(0.05, rel=1e-3)
    assert isinstance(optimizer.param_groups[0]["lr"], type(rate))


def test_an_overflow_under_grad_scaler_changes_nothing():
    model, points, labels = problem()
    optimizer = ThermoLion(model.parameters(), lr=1e-2)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(nn.functional.cross_entropy(model(points), labels)).backward()
    scaler.step(optimizer)
    scaler.update()
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    model.weight.grad[0, 0] = float("inf")
    scaler.step(optimizer)
    scaler.update()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[0][name])
    assert [s["step"] for s in optimizer.state_dict()["state"].values()] == [1, 1]
    assert scaler.get_scale() == 512.0


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"foreach": True}, {"capturable": True}], ids=str)
@pytest.mark.parametrize("rate", [1e-2, torch.tensor(1e-2)], ids=["float", "tensor"])
@pytest.mark.parametrize("backend", ["eager", "inductor"])
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_step_is_the_step_to_the_bit(settings, rate, backend):
    """Compilers leave the step as it is: no error, no recompilation for a schedule, and the same bits."""
    ends = []
    for compiled in (False, True):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        model, points, labels = problem()
        lr = rate.clone() if isinstance(rate, torch.Tensor) else rate
        optimizer = ThermoLion(model.parameters(), lr=lr, seed=1, **settings)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)

        def update(optimizer=optimizer):
            optimizer.step()

        stepped = torch.compile(update, backend=backend) if compiled else update
        for _ in range(12):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(points), labels).backward()
            stepped()
            schedule.step()
        ends.append([*model.state_dict().values(), *(s["step"] for s in optimizer.state.values())])
    assert all(map(torch.equal, *ends))
    assert not torch._dynamo.utils.counters["recompiles"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_training_step_compiles_the_model_and_steps_as_ever():
    ends = []
    for compiled in (False, True):
        torch._dynamo.reset()
        model, points, labels = problem()
        optimizer = ThermoLion(model.parameters(), lr=1e-2, seed=1)

        def update(model=model, optimizer=optimizer, points=points, labels=labels):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(points), labels).backward()
            optimizer.step()

        step = torch.compile(update) if compiled else update
        for _ in range(8):
            step()
        ends.append(list(model.state_dict().values()))
    torch.testing.assert_close(*ends, rtol=1e-5, atol=1e-6)  # the model's own sums are rounded otherwise


@pytest.mark.slow
def test_a_step_is_never_part_of_one_full_graph():
    model, points, labels = problem()
    optimizer = ThermoLion(model.parameters())
    nn.functional.cross_entropy(model(points), labels).backward()
    with pytest.raises(RuntimeError, match="disable"):
        torch.compile(optimizer.step, backend="eager", fullgraph=True)()


@pytest.mark.slow
def test_accelerate_trains_with_it():
    accelerate = pytest.importorskip("accelerate", reason="needs accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    model, points, labels = problem()
    model, optimizer = accelerator.prepare(model, ThermoLion(model.parameters(), lr=1e-2))
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(points), labels)
        accelerator.backward(loss)
        optimizer.step()
    assert loss.item() < 0.4


@pytest.mark.slow
@pytest.mark.parametrize("automatic", [True, False], ids=["automatic", "manual"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.filterwarnings("ignore")
def test_lightning_trains_with_it(tmp_path, automatic, precision):
    lightning = pytest.importorskip("lightning", reason="needs lightning")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net, self.points, self.labels = problem()
            self.automatic_optimization = automatic
            self.losses = []

        def training_step(self, batch, index):
            loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            self.losses.append(loss.item())
            if not automatic:
                optimizer = self.optimizers()
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
            return loss

        def configure_optimizers(self):
            return ThermoLion(self.parameters(), lr=1e-2)

        def train_dataloader(self):
            data = torch.utils.data.TensorDataset(self.points, self.labels)
            return torch.utils.data.DataLoader(data, batch_size=16)

    module = Module()
    lightning.Trainer(
        max_epochs=10, accelerator="cpu", precision=precision, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    ).fit(module)  # fmt: skip
    assert module.losses[-1] < 0.6 * module.losses[0] + 0.1
    assert len(module.losses) == 40
    assert all(state["step"] >= 38 for state in module.optimizers().optimizer.state.values())  # a scaler may skip some


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_transformers_trainer_resumes_exactly(tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    pytest.importorskip("accelerate", reason="needs accelerate")

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = problem()[0]

        def forward(self, points, labels):
            return {"loss": nn.functional.cross_entropy(self.net(points), labels)}

    _, points, labels = problem()
    data = [{"points": p, "labels": y} for p, y in zip(points, labels, strict=True)]

    def trainer(folder):
        arguments = transformers.TrainingArguments(
            output_dir=str(folder), max_steps=12, save_steps=6, per_device_train_batch_size=8, use_cpu=True,
            report_to=[], seed=3, logging_steps=100, disable_tqdm=True,
        )  # fmt: skip
        net = Net()
        optimizer = ThermoLion(net.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        return net, transformers.Trainer(net, arguments, train_dataset=data, optimizers=(optimizer, schedule))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net, run = trainer(tmp_path)
        run.train()
        torch.manual_seed(12345)
        resumed, again = trainer(tmp_path)
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    assert torch.equal(net.net.weight, resumed.net.weight)
