"""Twelve ways to train, in the own loop, attached and as a callback.

Neutral settings are the bare optimizer to the bit, and a resumed run is the unbroken one to the bit.
"""

import copy

import pytest
import torch
from pulseopt import AEES
from torch import nn
from torch.nn import functional

STEPS = 11
NEUTRAL = {"episode_length": 3, "seed": 0}
ARMS = {"lr_candidates": (0.5, 1.0, 2.0), "noise_candidates": (0.0, 0.01), "episode_length": 3, "seed": 0}
HOWS = ["own", "attached"]


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def batch(step, part=0):
    draw = torch.Generator().manual_seed(100 * part + step)
    return torch.randn(8, 4, generator=draw)


class Plain:
    """One optimizer, one loss a step."""

    def __init__(self, how, settings):
        self.how, self.model = how, network()
        self.optimizers = self.build()
        self.controllers = [] if how == "bare" else [AEES(o, **settings) for o in self.optimizers]
        if how == "attached":
            for aees in self.controllers:
                aees.attach()

    def build(self):
        return [torch.optim.AdamW(self.model.parameters(), lr=0.02)]

    def parts(self):
        return {"model": self.model, **{f"optimizer{i}": o for i, o in enumerate(self.optimizers)}}

    def loss(self, step, part=0):
        x = batch(step, part)
        return (self.model(x) - x[:, :3]).pow(2).mean()

    def backward(self, step):
        self.optimizers[0].zero_grad()
        loss = self.loss(step)
        loss.backward()
        return loss.detach()

    def step(self, step):
        self.take(0, step, self.backward(step))

    def take(self, index, step, loss, closure=None):
        """Steps one optimizer, as the way of using AEES wants it."""
        optimizer = self.optimizers[index]
        if self.how == "own":
            self.controllers[index].step_start(step)
            self.controllers[index].step_end(loss, closure=closure)
            return
        if self.how == "attached":
            self.controllers[index].observe(loss)
        optimizer.step(*([closure] if closure else []))

    def save(self):
        states = {name: copy.deepcopy(part.state_dict()) for name, part in self.parts().items()}
        return states, [copy.deepcopy(aees.state_dict()) for aees in self.controllers]

    def load(self, saved):
        for name, part in self.parts().items():
            part.load_state_dict(saved[0][name])
        for aees, state in zip(self.controllers, saved[1], strict=True):
            aees.load_state_dict(state)

    def end(self):
        for aees in self.controllers:
            aees.finalize()
        logs = [aees.get_logs() for aees in self.controllers]
        return {name: value.clone() for name, value in self.model.state_dict().items()}, logs


class Accumulation(Plain):
    """Two micro-batches a step."""

    def step(self, step):
        self.optimizers[0].zero_grad()
        losses = [self.loss(step, part) / 2 for part in range(2)]
        for loss in losses:
            loss.backward()
        self.take(0, step, sum(loss.detach() for loss in losses))


class Scaler(Plain):
    """A GradScaler that finds an overflow in the fourth step."""

    def build(self):
        self.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        return super().build()

    def parts(self):
        return {**super().parts(), "scaler": self.scaler}

    def step(self, step):
        optimizer, loss = self.optimizers[0], self.loss(step)
        optimizer.zero_grad()
        self.scaler.scale(loss * (1e38 if step == 3 else 1.0)).backward()
        if self.how == "own":
            self.controllers[0].step_start(step)
            self.controllers[0].step_end(loss, scaler=self.scaler)
        else:
            self.scaler.unscale_(optimizer)
            self.scaler.step(optimizer)
            if self.how == "attached" and self.controllers[0].awaiting_loss:
                self.controllers[0].observe(loss)
        self.scaler.update()


class Clip(Plain):
    """Gradients clipped to a small norm."""

    def backward(self, step):
        loss = super().backward(step)
        nn.utils.clip_grad_norm_(self.model.parameters(), 0.05)
        return loss


class Closure(Plain):
    """A closure that clears, computes and returns the loss."""

    def build(self):
        return [torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)]

    def step(self, step):
        self.take(0, step, self.loss(step).detach(), lambda: self.backward(step))


class Lbfgs(Closure):
    """LBFGS, which calls its closure several times a step."""

    def build(self):
        return [torch.optim.LBFGS(self.model.parameters(), lr=0.2, max_iter=3)]


class TwoOptimizers(Plain):
    """Two networks that play against each other, each with its optimizer and its loss."""

    def build(self):
        self.rival = network(1)
        return [torch.optim.AdamW(net.parameters(), lr=0.01) for net in (self.model, self.rival)]

    def parts(self):
        return {**super().parts(), "rival": self.rival}

    def step(self, step):
        for index, sign in enumerate((1.0, -1.0)):
            self.optimizers[index].zero_grad()
            x = batch(step)
            loss = sign * functional.cosine_similarity(self.model(x), self.rival(x)).mean() + 2.0
            loss.backward(inputs=list((self.model, self.rival)[index].parameters()))
            self.take(index, step, loss.detach())


class FrozenAndThawed(Plain):
    """The first layer is frozen in every second stretch of three steps."""

    def step(self, step):
        self.model[0].requires_grad_(step // 3 % 2 == 0)
        super().step(step)


class GroupsReplaced(Plain):
    """The groups are replaced by copies before each step, as some trainers do, and a group is added on the way."""

    def build(self):
        self.late = self.model[2]
        return [torch.optim.AdamW([{"params": self.model[0].parameters()}], lr=0.02)]

    def step(self, step):
        optimizer = self.optimizers[0]
        if step == 4 and len(optimizer.param_groups) == 1:
            optimizer.add_param_group({"params": self.late.parameters(), "lr": 0.01})
        optimizer.param_groups = [dict(group) for group in optimizer.param_groups]
        super().step(step)

    def load(self, saved):
        if len(saved[0]["optimizer0"]["param_groups"]) == 2:
            self.optimizers[0].add_param_group({"params": self.late.parameters(), "lr": 0.01})
        super().load(saved)


class DistributedCheckpoint(Plain):
    """States come and go through torch.distributed.checkpoint, which steps a fresh optimizer to make some."""

    def build(self):
        return [torch.optim.SGD(self.model.parameters(), lr=0.1)]  # without momentum there is never a state

    def step(self, step):
        super().step(step)
        self.optimizers[0].zero_grad()
        if step % 2:
            self.save()

    def save(self):
        tools = pytest.importorskip("torch.distributed.checkpoint.state_dict")
        model, optimizer = tools.get_state_dict(self.model, self.optimizers[0])
        return copy.deepcopy((model, optimizer)), [copy.deepcopy(aees.state_dict()) for aees in self.controllers]

    def load(self, saved):
        tools = pytest.importorskip("torch.distributed.checkpoint.state_dict")
        (model, optimizer), states = saved
        self.load_controllers(states, first=True)
        tools.set_state_dict(self.model, self.optimizers[0], model_state_dict=model, optim_state_dict=optimizer)
        self.load_controllers(states, first=False)

    first = False

    def load_controllers(self, states, first):
        if first == self.first:
            for aees, state in zip(self.controllers, states, strict=True):
                aees.load_state_dict(state)


class DistributedCheckpointLater(DistributedCheckpoint):
    """The same with AdamW, and the controller loaded before the optimizer."""

    first = True

    def build(self):
        return [torch.optim.AdamW(self.model.parameters(), lr=0.02)]


class MuonMixture(Plain):
    """Muon for the matrices, AdamW for the rest, one controller each."""

    def build(self):
        if not hasattr(torch.optim, "Muon"):
            pytest.skip("needs torch >= 2.9")
        matrices = [p for p in self.model.parameters() if p.ndim == 2]
        rest = [p for p in self.model.parameters() if p.ndim != 2]
        return [torch.optim.Muon(matrices, lr=0.02), torch.optim.AdamW(rest, lr=0.02)]

    def step(self, step):
        self.model.zero_grad()
        loss = self.loss(step)
        loss.backward()
        for index in range(2):
            self.take(index, step, loss.detach())


class Accelerate(Plain):
    """Accelerate's wrapped optimizer, two micro-batches a step."""

    def build(self):
        accelerate = pytest.importorskip("accelerate", reason="needs the transformers extra")
        self.accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
        self.model, optimizer = self.accelerator.prepare(self.model, super().build()[0])
        return [optimizer]

    def step(self, step):
        if self.how == "own":
            self.controllers[0].step_start(step)
        losses = []
        for part in range(2):
            with self.accelerator.accumulate(self.model):
                loss = self.loss(step, part)
                losses.append(loss.detach())
                self.accelerator.backward(loss)
                if self.how == "attached":
                    self.controllers[0].observe(loss.detach())
                if self.how != "own":
                    self.optimizers[0].step()
                    self.optimizers[0].zero_grad()
                elif part == 1:
                    self.controllers[0].step_end(sum(losses) / 2)
                    self.optimizers[0].zero_grad()


WAYS = [
    Plain, Accumulation, Scaler, Clip, Closure, Lbfgs, TwoOptimizers, FrozenAndThawed, GroupsReplaced,
    DistributedCheckpoint, DistributedCheckpointLater, MuonMixture, Accelerate,
]  # fmt: skip


def run(way, how, settings, steps=range(STEPS)):
    trained = way(how, settings)
    for step in steps:
        trained.step(step)
        rates = [group["lr"] for optimizer in trained.optimizers for group in optimizer.param_groups]
        assert set(rates) <= {0.01, 0.02, 0.1, 0.2}, "the optimizer's own rates are back"
    return trained


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("way", WAYS)
def test_neutral_settings_are_the_bare_optimizer_to_the_bit(way, how):
    bare, _ = run(way, "bare", {}).end()
    controlled, logs = run(way, how, NEUTRAL).end()
    assert all(torch.equal(bare[name], controlled[name]) for name in bare)
    counted = STEPS - (way is Scaler)
    assert all(len(log["episode_rewards"]) == -(-counted // 3) for log in logs)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("way", WAYS)
def test_resumed_is_unbroken_to_the_bit(way, how):
    expected, logs = run(way, how, ARMS).end()
    neutral, _ = run(way, how, NEUTRAL).end()
    assert not all(torch.equal(expected[name], neutral[name]) for name in expected), "the arms do something"
    for cut in (2, 4, 7):
        first = run(way, how, ARMS, range(cut))
        second = way(how, {**ARMS, "seed": 5})
        second.load(first.save())
        for step in range(cut, STEPS):
            second.step(step)
        got, again = second.end()
        assert all(torch.equal(expected[name], got[name]) for name in expected), cut
        assert again == logs


def lightning_run(settings, path, resume=None, save_at=None, optimizers=1, returns=None):
    """A trainer with manual optimization; returns the module, the callbacks and the trainer."""
    pytorch = pytest.importorskip("lightning.pytorch", reason="needs the lightning extra")
    callback = pytest.importorskip("pulseopt.integrations.lightning").AEESCallback

    class Module(pytorch.LightningModule):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False
            self.nets = nn.ModuleList(network(i) for i in range(optimizers))

        def configure_optimizers(self):
            return [torch.optim.AdamW(net.parameters(), lr=0.02) for net in self.nets]

        def training_step(self, data, index):
            chosen = self.optimizers()
            for k, optimizer in enumerate(chosen if isinstance(chosen, list) else [chosen]):
                loss = (100.0**k) * (self.nets[k](data[0]) - data[0][:, :3]).pow(2).mean()
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
            return returns

    class Saving(pytorch.Callback):
        def on_train_batch_end(self, trainer, *args):
            if save_at is not None and trainer.global_step == save_at:
                trainer.save_checkpoint(path / "cut.ckpt")

    callbacks = [] if settings is None else [callback(k, **settings) for k in range(optimizers)]
    trainer = pytorch.Trainer(
        accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[*callbacks, Saving()], default_root_dir=path,
    )  # fmt: skip
    data = torch.utils.data.TensorDataset(torch.cat([batch(step) for step in range(5)]))
    module = Module()
    trainer.fit(module, torch.utils.data.DataLoader(data, 8), ckpt_path=resume, **(
        {"weights_only": True} if resume else {}
    ))  # fmt: skip
    return module, callbacks


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("returns", [None, {"predictions": torch.zeros(1)}])
def test_lightning_manual_neutral_is_bare_and_hears_each_loss(tmp_path, returns):
    bare, _ = lightning_run(None, tmp_path)
    module, (callback,) = lightning_run(NEUTRAL, tmp_path, returns=returns)
    assert all(map(torch.equal, bare.state_dict().values(), module.state_dict().values()))
    assert callback.aees.get_logs()["episode_end_steps"] == [2, 5, 8, 9]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_lightning_callbacks_hear_each_its_own_optimizer(tmp_path):
    _, callbacks = lightning_run(NEUTRAL, tmp_path, optimizers=2)
    starts = [callback.aees.get_logs()["episode_start_losses"] for callback in callbacks]
    assert [len(losses) for losses in starts] == [4, 4]
    assert min(starts[1]) > 5 * max(starts[0])
    assert callbacks[0].state_key != callbacks[1].state_key


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_lightning_manual_resumes_to_the_bit(tmp_path):
    whole, (callback,) = lightning_run(ARMS, tmp_path, save_at=5)  # inside an episode
    second, (resumed,) = lightning_run(ARMS, tmp_path, resume=tmp_path / "cut.ckpt")
    assert all(map(torch.equal, whole.state_dict().values(), second.state_dict().values()))
    assert resumed.aees.get_logs() == callback.aees.get_logs()
