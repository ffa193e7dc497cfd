"""Twelve ways to train: neutral settings are the bare optimizer to the bit, and each way resumes to the bit.

Plain, accumulation, a scaler with overflows, clipping, closures, LBFGS, two optimizers, frozen and thawed groups,
groups replaced, distributed checkpoints, Muon beside AdamW, Accelerate. Lightning's manual optimization comes last.
"""

import io

import pytest
import torch
from adaptive_optimizer import AdaptiveOptimizer
from torch import nn
from torch.optim import LBFGS, SGD, AdamW

NEUTRAL = {
    "no rule": {},
    "factors held at 1": {"lr_rule": "trend+cosine", "cycle_floor": 1.0, "lr_factor_bounds": (1.0, 1.0)},
    "guard held at 1": {"guard": True, "lr_factor_bounds": (1.0, 1.0), "loss_delay": 1},
}
ACTIVE = {"lr_rule": "trend+variance+cosine_restart", "cycle_length": 5, "guard": True}
STEPS = 14


def bare(base, **_):
    return base


def adapted(**rules):
    return lambda base, **more: AdaptiveOptimizer(base, **rules, **more)


def feed(opt, loss):
    if isinstance(opt, AdaptiveOptimizer):
        opt.step_loss(loss)


class Way:
    """A model, its optimizers, and one step of training; ``wrap`` leaves an optimizer bare or wraps it."""

    settings: dict = {}  # noqa: RUF012  # for the wrapper

    def __init__(self, wrap):
        torch.manual_seed(0)
        self.net = self.network()
        self.opts = [wrap(base, **self.settings) for base in self.bases()]
        self.opt = self.opts[0]

    def network(self):
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))

    def bases(self):
        return [AdamW(self.net.parameters(), lr=0.02, weight_decay=0.1)]

    def loss(self, step):
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        return ((self.net(x) - x.sum(1, keepdim=True)) ** 2).mean()

    def step(self, step):
        loss = self.loss(step)
        self.opt.zero_grad()
        loss.backward()
        feed(self.opt, loss)
        self.opt.step()

    def train(self, first, last):
        for step in range(first, last):
            self.step(step)
        return self

    def save(self):
        return {"net": self.net.state_dict(), "opts": [opt.state_dict() for opt in self.opts]}

    def load(self, saved):
        self.net.load_state_dict(saved["net"])
        for opt, state in zip(self.opts, saved["opts"], strict=True):
            opt.load_state_dict(state)

    def weights(self):
        return torch.cat([p.detach().flatten() for p in self.net.parameters()])


class Plain(Way):
    pass


class Accumulation(Way):
    settings = {"accumulate": 2}  # noqa: RUF012

    def step(self, step):
        self.opt.zero_grad()
        for micro in range(2):
            loss = self.loss(2 * step + micro) / 2
            loss.backward()
            feed(self.opt, loss)
        self.opt.step()


class ScalerWithOverflow(Way):
    def __init__(self, wrap):
        super().__init__(wrap)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)

    def step(self, step):
        loss = self.loss(step)
        self.opt.zero_grad()
        feed(self.opt, loss)
        self.scaler.scale(loss * (float("inf") if step % 4 == 3 else 1)).backward()
        self.scaler.step(self.opt)
        self.scaler.update()

    def save(self):
        return {**super().save(), "scaler": self.scaler.state_dict()}

    def load(self, saved):
        super().load(saved)
        self.scaler.load_state_dict(saved["scaler"])


class Clip(Way):
    def step(self, step):
        loss = self.loss(step)
        loss.backward()
        feed(self.opt, loss)
        nn.utils.clip_grad_norm_(self.net.parameters(), 0.1)
        self.opt.step()
        self.opt.zero_grad()


class Closure(Way):
    def step(self, step):
        def closure():
            self.opt.zero_grad()
            loss = self.loss(step)
            loss.backward()
            return loss

        self.opt.step(closure)


class LbfgsClosure(Closure):
    def bases(self):
        return [LBFGS(self.net.parameters(), lr=0.5, max_iter=3)]


class TwoOptimizers(Way):
    """A generator and a critic, each with its own optimizer and losses."""

    def network(self):
        return nn.ModuleDict({"generator": nn.Linear(3, 4), "critic": nn.Linear(4, 1)})

    def bases(self):
        return [AdamW(part.parameters(), lr=0.02) for part in self.net.values()]

    def step(self, step):
        x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
        fake = self.net["generator"](x)
        for opt, loss in zip(
            self.opts, (self.net["critic"](fake).mean(), self.net["critic"](fake.detach()).square().mean()), strict=True
        ):
            opt.zero_grad()
            loss.backward()
            feed(opt, loss)
        for opt in self.opts:
            opt.step()


class FrozenAndThawed(Way):
    """The first layer rests at lr 0, then without gradients, then moves."""

    def bases(self):
        groups = [{"params": self.net[0].parameters(), "lr": 0.0}, {"params": self.net[2].parameters()}]
        return [SGD(groups, lr=0.02, momentum=0.9)]

    def step(self, step):
        self.net[0].requires_grad_(not 4 <= step < 8)
        self.opt.param_groups[0]["lr"] = 0.02 if step >= 8 else 0.0
        super().step(step)


class GroupsReplaced(Way):
    def step(self, step):
        loss = self.loss(step)
        self.opt.zero_grad()
        loss.backward()
        feed(self.opt, loss)
        if step % 3 == 1:
            self.opt.param_groups = [dict(group) for group in self.opt.param_groups]
        self.opt.step()


class DistributedCheckpoint(Way):
    """State is asked for at some steps: torch makes it by a step without rate or gradients."""

    def bases(self):
        return [SGD(self.net.parameters(), lr=0.02)]

    def train(self, first, last):
        for step in range(first, last):
            self.step(step)
            self.opt.zero_grad()
            if step % 3 == 0:
                self.saved_by_torch()
        return self

    def saved_by_torch(self):
        from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

        return get_optimizer_state_dict(self.net, self.opt)

    def save(self):
        return {
            "net": self.net.state_dict(),
            "opt": self.saved_by_torch(),
            "adaptive": self.opt.state_dict().get("adaptive"),
        }

    def load(self, saved):
        from torch.distributed.checkpoint.state_dict import set_optimizer_state_dict

        self.net.load_state_dict(saved["net"])
        set_optimizer_state_dict(self.net, self.opt, saved["opt"])
        self.opt.load_state_dict({**self.opt.state_dict(), "adaptive": saved["adaptive"]})


class StatefulDistributedCheckpoint(DistributedCheckpoint):
    def bases(self):
        return [AdamW(self.net.parameters(), lr=0.02)]


class MuonBesideAdamW(Way):
    def bases(self):
        if not hasattr(torch.optim, "Muon"):
            pytest.skip("needs torch 2.9 or later for Muon")
        matrices = [p for p in self.net.parameters() if p.ndim == 2]
        rest = [p for p in self.net.parameters() if p.ndim != 2]
        return [torch.optim.Muon(matrices, lr=0.02), AdamW(rest, lr=0.02)]

    def step(self, step):
        loss = self.loss(step)
        for opt in self.opts:
            opt.zero_grad()
        loss.backward()
        for opt in self.opts:
            feed(opt, loss)
            opt.step()


class Accelerated(Way):
    def __init__(self, wrap):
        accelerate = pytest.importorskip("accelerate", reason="needs accelerate")
        super().__init__(wrap)
        self.run = accelerate.Accelerator(cpu=True)
        self.net, self.prepared = self.run.prepare(self.net, self.opt)

    def step(self, step):
        loss = self.loss(step)
        self.run.backward(loss)
        feed(self.opt, loss)
        self.prepared.step()
        self.prepared.zero_grad()


WAYS = [
    Plain,
    Accumulation,
    ScalerWithOverflow,
    Clip,
    Closure,
    LbfgsClosure,
    TwoOptimizers,
    FrozenAndThawed,
    GroupsReplaced,
    DistributedCheckpoint,
    StatefulDistributedCheckpoint,
    MuonBesideAdamW,
    pytest.param(Accelerated, marks=[pytest.mark.slow, pytest.mark.filterwarnings("ignore")]),
]


@pytest.mark.parametrize("rules", NEUTRAL.values(), ids=NEUTRAL)
@pytest.mark.parametrize("way", WAYS)
def test_neutral_settings_are_the_bare_optimizer_to_the_bit(way, rules):
    if rules.get("loss_delay") and way.settings:
        rules = {**rules, "loss_delay": 0}
    assert torch.equal(way(bare).train(0, STEPS).weights(), way(adapted(**rules)).train(0, STEPS).weights())


@pytest.mark.parametrize("at", [0, 1, 6])
@pytest.mark.parametrize("rules", [ACTIVE, {**ACTIVE, "loss_delay": 1}], ids=["exact", "delayed"])
@pytest.mark.parametrize("way", WAYS)
def test_each_way_resumes_to_the_bit(way, rules, at):
    if rules.get("loss_delay") and way.settings:
        pytest.skip("accumulated losses are not delayed")
    unbroken = way(adapted(**rules)).train(0, at)
    file = io.BytesIO()
    torch.save(unbroken.save(), file)
    file.seek(0)
    unbroken.train(at, STEPS)
    resumed = way(adapted(**rules))
    resumed.load(torch.load(file, weights_only=True))
    resumed.train(at, STEPS)
    assert torch.equal(unbroken.weights(), resumed.weights())
    assert [opt.factors for opt in unbroken.opts] == [opt.factors for opt in resumed.opts]
    assert any(opt.factors["lr"] != 1 for opt in unbroken.opts)
    assert not torch.equal(unbroken.weights(), way(bare).train(0, STEPS).weights())


@pytest.mark.parametrize("way", [Plain, ScalerWithOverflow, DistributedCheckpoint, StatefulDistributedCheckpoint])
def test_steps_that_are_none_do_not_count(way):
    run = way(adapted(lr_rule="trend")).train(0, STEPS)
    skipped = 3 if way is ScalerWithOverflow else 0
    assert len(run.opt.get_logs()) == STEPS - skipped
    assert run.opt.state_dict()["adaptive"]["controller"]["losses"]["n"] == STEPS - skipped


@pytest.mark.parametrize(
    "make", [lambda p: AdamW(p, lr=0.01, weight_decay=0.1), lambda p: SGD(p, lr=torch.tensor(0.1))]
)
def test_asking_for_distributed_state_changes_nothing(make):
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    net = nn.Linear(5, 1)
    before = net.weight.detach().clone()
    opt = AdaptiveOptimizer(make(net.parameters()), lr_rule="trend", wd_rule="trend", min_lr=1e-3)
    get_optimizer_state_dict(net, opt)
    assert torch.equal(net.weight, before)
    assert opt.get_logs() == []


def lightning_run(tmp_path, wrap, epochs, resume=None):
    pl = pytest.importorskip("lightning.pytorch", reason="needs lightning")
    from adaptive_optimizer.integrations.lightning import AdaptiveCallback

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False
            self.way = Plain(wrap)
            self.net = self.way.net

        def configure_optimizers(self):
            return self.way.opt

        def training_step(self, batch, index):
            opt = self.optimizers()
            opt.zero_grad()
            self.manual_backward(self.way.loss(int(batch)))
            opt.step()

    module = Module()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, callbacks=[] if wrap is bare else [AdaptiveCallback()],
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader(range(7)), ckpt_path=resume)
    return trainer, module.way


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("rules", NEUTRAL.values(), ids=NEUTRAL)
def test_lightnings_manual_optimization_with_neutral_settings_is_bare_to_the_bit(tmp_path, rules):
    (_, plain), (_, wrapped) = (lightning_run(tmp_path, wrap, 2) for wrap in (bare, adapted(**rules)))
    assert torch.equal(plain.weights(), wrapped.weights())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_lightnings_manual_optimization_resumes_to_the_bit(tmp_path):
    _, unbroken = lightning_run(tmp_path, adapted(**ACTIVE), 2)
    trainer, _ = lightning_run(tmp_path, adapted(**ACTIVE), 1)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    _, resumed = lightning_run(tmp_path, adapted(**ACTIVE), 2, tmp_path / "one.ckpt")
    assert torch.equal(unbroken.weights(), resumed.weights())
    assert unbroken.opt.factors == resumed.opt.factors
    assert len(unbroken.opt.get_logs()) == 14
