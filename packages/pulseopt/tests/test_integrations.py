"""Real trainers, on the CPU: one decision a real step, none on an overflow, schedules and checkpoints intact."""

import math
import warnings

import pytest
import torch
from pulseopt import AEES
from torch import nn

SETTINGS = {"lr_candidates": (0.5, 1.0, 2.0), "noise_candidates": (0.0, 0.01), "episode_length": 2, "seed": 0}
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def data(n=32):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(n, 4, generator=draw)
    return torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True))


def cosine(step, total, base):
    return base * (1 + math.cos(math.pi * step / total)) / 2


def lightning_parts():
    pytorch = pytest.importorskip("lightning.pytorch", reason="needs the lightning extra")
    integration = pytest.importorskip("pulseopt.integrations.lightning")

    class Module(pytorch.LightningModule):
        overflow_at = None

        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.Linear(4, 1)
            self.rates = []

        def training_step(self, batch, batch_idx):
            x, y = batch
            loss = (self.layer(x) - y).pow(2).mean()
            return loss * 1e36 if batch_idx == self.overflow_at else loss

        def on_train_batch_end(self, *args):
            self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])

        def configure_optimizers(self):
            optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 16)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def fit(module, callback, path, precision="32-true", resume=None, **options):
        options = {"max_epochs": 2, **options}
        if precision == "16-mixed":  # the trainer takes bfloat16 on the CPU unless it is handed the scaler
            plugin = pytest.importorskip("lightning.pytorch.plugins").MixedPrecision
            options["plugins"] = [plugin("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=1024.0))]
            precision = None
        trainer = pytorch.Trainer(
            accelerator="cpu", precision=precision, logger=False, enable_progress_bar=False, enable_checkpointing=False,
            enable_model_summary=False, callbacks=[callback], default_root_dir=path, **options,
        )  # fmt: skip
        trainer.fit(module, torch.utils.data.DataLoader(data(), batch_size=4), ckpt_path=resume, **(
            {"weights_only": True} if resume else {}
        ))  # fmt: skip
        return trainer

    return Module, integration.AEESCallback, fit


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_lightning_makes_one_decision_a_step_and_keeps_the_cosine(tmp_path, precision):
    module_class, callback_class, fit = lightning_parts()
    module, callback = module_class(), callback_class(**SETTINGS)
    fit(module, callback, tmp_path, precision)
    logs = callback.aees.get_logs()
    assert logs["episode_start_steps"] == list(range(0, 16, 2))
    assert logs["episode_end_steps"] == list(range(1, 16, 2))
    assert module.rates == pytest.approx([cosine(t + 1, 16, 1e-2) for t in range(16)])
    assert callback.aees.optimizer.param_groups[0]["lr"] == module.rates[-1]


def test_lightning_scores_no_overflow_step(tmp_path):
    module_class, callback_class, fit = lightning_parts()
    module, callback = module_class(), callback_class(**SETTINGS)
    module.overflow_at = 3
    fit(module, callback, tmp_path, "16-mixed", max_epochs=1)
    logs = callback.aees.get_logs()
    assert logs["episode_end_steps"][-1] == 6, "seven of eight steps were real"
    assert max(logs["episode_start_losses"]) < 1e3


def test_lightning_accumulation_sums_to_the_steps_loss(tmp_path):
    module_class, callback_class, fit = lightning_parts()
    module, callback = (
        module_class(),
        callback_class(**{**SETTINGS, "lr_candidates": (1.0,), "noise_candidates": (0.0,)}),
    )
    fit(module, callback, tmp_path, max_epochs=1, accumulate_grad_batches=4)
    torch.manual_seed(0)
    layer, (x, y) = nn.Linear(4, 1), data()[:16]
    loss = (layer(x) - y).pow(2).mean().item()
    assert callback.aees.get_logs()["episode_start_losses"] == [pytest.approx(loss, rel=1e-6)]
    assert callback.aees.get_logs()["episode_end_steps"] == [1]


def test_lightning_resumes_to_the_bit(tmp_path):
    module_class, callback_class, fit = lightning_parts()
    settings = {**SETTINGS, "episode_length": 3}  # the checkpoint lies inside an episode

    class Saving(callback_class):
        def on_train_batch_end(self, trainer, *args):
            super().on_train_batch_end(trainer, *args)
            if trainer.global_step == 8:
                trainer.save_checkpoint(tmp_path / "eight.ckpt")

    whole, callback = module_class(), Saving(**settings)
    fit(whole, callback, tmp_path)
    second, resumed = module_class(), Saving(**settings)
    fit(second, resumed, tmp_path, resume=tmp_path / "eight.ckpt")
    assert len(second.rates) == 8, "it went on from the checkpoint"
    assert torch.equal(whole.layer.weight, second.layer.weight)
    assert resumed.aees.get_logs() == callback.aees.get_logs()


def transformers_parts(tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs the transformers extra")
    integration = pytest.importorskip("pulseopt.integrations.transformers")

    class Trainer(integration.AEESTrainerMixin, transformers.Trainer):
        pass

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.Linear(4, 1)

        def forward(self, x, y):
            return {"loss": (self.layer(x) - y).pow(2).mean()}

    rows = [{"x": x, "y": y} for x, y in data()]

    def trainer(name, **options):
        options = {"max_steps": 16, "save_strategy": "no", **options}
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path / name), use_cpu=True, per_device_train_batch_size=4, learning_rate=1e-2,
            lr_scheduler_type="cosine", report_to=[], disable_tqdm=True, logging_strategy="no", seed=0, **options,
        )  # fmt: skip
        return Trainer(Model(), arguments, train_dataset=rows, aees_settings=SETTINGS)

    return trainer


def test_transformers_makes_one_decision_a_step_and_keeps_the_cosine(tmp_path):
    trainer = transformers_parts(tmp_path)("a")
    trainer.train()
    logs = trainer.aees.get_logs()
    assert logs["episode_end_steps"] == list(range(1, 16, 2))
    assert trainer.lr_scheduler.get_last_lr() == pytest.approx([0.0, 0.0], abs=1e-12), "one rate for each of two groups"


def test_transformers_accumulation_is_one_decision(tmp_path):
    trainer = transformers_parts(tmp_path)("a", max_steps=4, gradient_accumulation_steps=2)
    trainer.train()
    assert trainer.aees.get_logs()["episode_end_steps"] == [1, 3]


def test_transformers_saves_and_resumes_to_the_bit(tmp_path):
    make = transformers_parts(tmp_path)
    whole = make("whole")
    whole.train()
    make("half", save_strategy="steps", save_steps=5).train()
    resumed = make("half", save_strategy="steps", save_steps=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        resumed.train(resume_from_checkpoint=str(tmp_path / "half" / "checkpoint-5"))
    assert torch.equal(whole.model.layer.weight, resumed.model.layer.weight)
    assert resumed.aees.get_logs() == whole.aees.get_logs()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_accelerate_makes_one_decision_a_real_step(accumulate):
    accelerate = pytest.importorskip("accelerate", reason="needs the transformers extra")
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=accumulate)
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 16)
    loader = torch.utils.data.DataLoader(data(64), batch_size=4)
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    aees = AEES(optimizer, **SETTINGS).attach()
    rates = []
    for x, y in loader:
        with accelerator.accumulate(model):
            loss = (model(x) - y).pow(2).mean()
            aees.observe(loss)
            accelerator.backward(loss)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            rates.append(optimizer.param_groups[0]["lr"])
    steps = 16 // accumulate
    assert aees.get_logs()["episode_end_steps"] == list(range(1, steps, 2))
    assert rates[accumulate - 1 :: accumulate] == pytest.approx([cosine(t + 1, 16, 1e-2) for t in range(steps)])


def test_tensorboard_is_told_of_every_episode(tmp_path):
    tensorboard = pytest.importorskip("torch.utils.tensorboard", reason="needs tensorboard")
    event = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    writer = tensorboard.SummaryWriter(str(tmp_path))
    weight = nn.Parameter(torch.ones(3))
    aees = AEES(torch.optim.SGD([weight], lr=0.1), **SETTINGS, writer=writer)
    for step in range(6):
        aees.step_start(step)
        weight.grad = weight.detach().clone()
        aees.step_end(1.0 / (step + 1))
    writer.close()
    found = event.EventAccumulator(str(tmp_path)).Reload().Scalars("pulseopt/reward")
    assert [(e.step, e.value) for e in found] == [
        (step, pytest.approx(reward, rel=1e-6))
        for step, reward in zip([1, 3, 5], aees.get_logs()["episode_rewards"], strict=True)
    ]
