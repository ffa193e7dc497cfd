"""Real trainers, real processes: the controller gets every loss, acts on real steps only, and survives checkpoints."""

import os
import subprocess
import sys
import textwrap

import pytest
import torch
from adaptive_optimizer import AdaptiveOptimizer
from torch import nn
from torch.optim import SGD, AdamW

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

RULES = {"lr_rule": "trend+variance", "wd_rule": "trend", "betas_rule": ("relative", "variance"), "beta_warmup": 2}


def counters(opt):
    return opt.state_dict()["adaptive"]["controller"]["counters"]


def losses_seen(opt):
    return opt.state_dict()["adaptive"]["controller"]["losses"]["n"]


@pytest.fixture(scope="module")
def pl():
    return pytest.importorskip("lightning.pytorch", reason="needs lightning")


def lightning_module(pl, *, automatic):
    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.net = nn.Linear(4, 1)
            self.automatic_optimization = automatic

        def training_step(self, batch, index):
            x, y = batch
            loss = ((self.net(x) - y) ** 2).mean()
            if not automatic:
                opt = self.optimizers()
                opt.zero_grad()
                self.manual_backward(loss)
                opt.step()
            return loss

        def validation_step(self, batch, index):
            x, y = batch
            self.log("val_score", -((self.net(x) - y) ** 2).mean())

        def configure_optimizers(self):
            self.opt = AdaptiveOptimizer(AdamW(self.parameters(), lr=0.01), **RULES, reward_rule="trend")
            return [self.opt], [
                {"scheduler": torch.optim.lr_scheduler.CosineAnnealingLR(self.opt, 50), "interval": "step"}
            ]

    return Module()


def loader():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 4, generator=generator)
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True)), batch_size=8)


def trainer(pl, tmp_path, **settings):
    settings = {"max_epochs": 2, "enable_checkpointing": False, **settings}
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=tmp_path, **settings,
    )  # fmt: skip


@pytest.mark.parametrize("automatic", [True, False], ids=["automatic", "manual"])
@pytest.mark.parametrize("precision", ["32-true", "16-mixed", "bf16-mixed"])
def test_lightning_feeds_every_loss_and_the_metric(pl, tmp_path, automatic, precision):
    from adaptive_optimizer.integrations.lightning import AdaptiveCallback

    module = lightning_module(pl, automatic=automatic)
    run = trainer(pl, tmp_path, precision=precision, callbacks=[AdaptiveCallback("val_score")])
    run.fit(module, loader(), loader())
    skipped = 16 - counters(module.opt)["step"]
    assert skipped == 0 if precision != "16-mixed" else skipped <= 2
    assert losses_seen(module.opt) + module.opt.nonfinite_losses >= 16 - skipped
    assert module.opt.state_dict()["adaptive"]["controller"]["rewards"]["n"] == 2
    assert module.opt.factors["M"] != 1
    if automatic:
        bare = SGD([nn.Parameter(torch.zeros(1))], lr=0.01)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(bare, 50)
        for _ in range(run.lr_scheduler_configs[0].scheduler.last_epoch):
            bare.step()
            schedule.step()
        assert module.opt.base_lrs == pytest.approx([bare.param_groups[0]["lr"]], rel=1e-12)


def gan(pl, order):
    class Gan(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False
            self.generator, self.critic = nn.Linear(4, 4), nn.Linear(4, 1)

        def configure_optimizers(self):
            parts = (self.generator, self.critic)
            return [AdaptiveOptimizer(SGD(part.parameters(), lr=1e-3), lr_rule="trend") for part in parts]

        def training_step(self, batch, index):
            fake = self.generator(batch[0])
            losses = [1.0 + 0 * self.critic(fake).mean(), 100.0 - index + 0 * self.critic(fake.detach()).mean()]
            opts = self.optimizers()
            if order == "one after the other":
                for opt, loss in zip(opts, losses, strict=True):
                    self.manual_backward(loss)
                    opt.step()
                    opt.zero_grad()
            else:
                for loss in losses:
                    self.manual_backward(loss)
                for opt in opts:
                    opt.step()
                    opt.zero_grad()

    return Gan()


@pytest.mark.parametrize("order", ["one after the other", "both losses first"])
def test_each_of_lightnings_optimizers_hears_its_own_losses(pl, tmp_path, order):
    from adaptive_optimizer.integrations.lightning import AdaptiveCallback

    module = gan(pl, order)
    run = trainer(pl, tmp_path, max_epochs=1, callbacks=[AdaptiveCallback(optimizer=0), AdaptiveCallback(optimizer=1)])
    run.fit(module, torch.utils.data.DataLoader(loader().dataset, batch_size=4))
    generator, critic = module.optimizers(use_pl_optimizer=False)
    assert [record["loss"] for record in generator.get_logs()] == [1.0] * 16
    assert [record["loss"] for record in critic.get_logs()] == [100.0 - index for index in range(16)]


@pytest.mark.parametrize("automatic", [True, False], ids=["automatic", "manual"])
def test_a_scaler_of_lightning_leaves_the_losses_in_their_unit(pl, tmp_path, automatic):
    from adaptive_optimizer.integrations.lightning import AdaptiveCallback

    def losses(precision):
        module = lightning_module(pl, automatic=automatic)
        run = trainer(pl, tmp_path, precision=precision, max_epochs=1, callbacks=[AdaptiveCallback()])
        run.fit(module, loader())
        return [record["loss"] for record in module.opt.get_logs()]

    assert losses("16-mixed")[-1] == pytest.approx(losses("bf16-mixed")[-1], rel=0.2)


def test_lightning_without_the_callback_counts_the_closures_loss_for_the_next_step(pl, tmp_path):
    module = lightning_module(pl, automatic=True)
    trainer(pl, tmp_path).fit(module, loader())
    assert losses_seen(module.opt) == 16


def test_lightning_resumes_to_the_bit(pl, tmp_path):
    from adaptive_optimizer.integrations.lightning import AdaptiveCallback

    def fit(epochs, checkpoint=None):
        module = lightning_module(pl, automatic=True)
        run = trainer(pl, tmp_path, max_epochs=epochs, callbacks=[AdaptiveCallback()])
        run.fit(module, loader(), ckpt_path=checkpoint)
        return run, module

    run, _ = fit(1)
    run.save_checkpoint(tmp_path / "one.ckpt")
    _, resumed = fit(2, tmp_path / "one.ckpt")
    _, unbroken = fit(2)
    assert resumed.opt.state_dict()["adaptive"] == unbroken.opt.state_dict()["adaptive"]
    assert torch.equal(resumed.net.weight, unbroken.net.weight)


def test_lightning_says_what_is_missing(pl, tmp_path):
    from adaptive_optimizer.integrations.lightning import AdaptiveCallback

    with pytest.raises(ValueError, match="reward must be a logged metric"):
        trainer(pl, tmp_path, callbacks=[AdaptiveCallback("nothing")], num_sanity_val_steps=0).fit(
            lightning_module(pl, automatic=True), loader(), loader()
        )


def transformers_run(tmp_path, *, steps, resume=False, **arguments):
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    pytest.importorskip("accelerate", reason="needs accelerate")
    from adaptive_optimizer.integrations.transformers import AdaptiveTrainer, RewardCallback

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.net = nn.Linear(4, 1)

        def forward(self, x, labels):
            out = self.net(x)
            return {"loss": ((out - labels) ** 2).mean(), "logits": out}

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 4, generator=generator)
    data = [{"x": row, "labels": row.sum().reshape(1)} for row in x]
    model = Model()
    accumulate = arguments.get("gradient_accumulation_steps", 1)
    opt = AdaptiveOptimizer(AdamW(model.parameters(), lr=0.01), **RULES, reward_rule="trend", accumulate=accumulate)
    settings = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=steps, per_device_train_batch_size=8, save_steps=6, eval_strategy="steps",
        eval_steps=6, report_to=[], use_cpu=True, disable_tqdm=True, save_safetensors=False, seed=1, **arguments,
    ) if "save_safetensors" in transformers.TrainingArguments.__init__.__code__.co_varnames else (
        transformers.TrainingArguments(
            output_dir=str(tmp_path), max_steps=steps, per_device_train_batch_size=8, save_steps=6,
            eval_strategy="steps", eval_steps=6, report_to=[], use_cpu=True, disable_tqdm=True, seed=1, **arguments,
        )
    )  # fmt: skip
    run = AdaptiveTrainer(
        model, settings, train_dataset=data, eval_dataset=data, optimizers=(opt, None),
        callbacks=[RewardCallback("eval_loss", larger_is_better=False)],
    )  # fmt: skip
    run.train(resume_from_checkpoint=resume)
    return opt, model


def test_transformers_trainer_feeds_saves_and_resumes_to_the_bit(tmp_path):
    unbroken, model = transformers_run(tmp_path / "run", steps=12)
    assert counters(unbroken)["step"] == losses_seen(unbroken) == 12
    assert unbroken.state_dict()["adaptive"]["controller"]["rewards"]["n"] == 2
    assert unbroken.factors["M"] != 1
    checkpoint = str(tmp_path / "run" / "checkpoint-6")
    resumed, resumed_model = transformers_run(tmp_path / "again", steps=12, resume=checkpoint)
    assert resumed.state_dict()["adaptive"] == unbroken.state_dict()["adaptive"]
    assert torch.equal(model.net.weight, resumed_model.net.weight)


def test_transformers_trainer_accumulates(tmp_path):
    opt, _ = transformers_run(tmp_path, steps=6, gradient_accumulation_steps=2)
    assert counters(opt)["step"] == losses_seen(opt) == 6


def test_accelerate_prepares_it_like_any_optimizer():
    accelerate = pytest.importorskip("accelerate", reason="needs accelerate")
    net = nn.Linear(4, 1)
    opt = AdaptiveOptimizer(AdamW(net.parameters(), lr=0.01), **RULES)
    schedule = torch.optim.lr_scheduler.StepLR(opt, 2, gamma=0.5)
    run = accelerate.Accelerator(cpu=True)
    prepared_net, prepared, prepared_schedule = run.prepare(net, opt, schedule)
    assert isinstance(prepared, accelerate.optimizer.AcceleratedOptimizer)
    for x, y in loader():
        loss = ((prepared_net(x) - y) ** 2).mean()
        run.backward(loss)
        opt.step_loss(loss)
        prepared.step()
        prepared_schedule.step()
        prepared.zero_grad()
    assert counters(opt)["step"] == losses_seen(opt) == 8
    assert opt.param_groups[0]["lr"] == 0.01 * 0.5**4
    assert opt.lr == 0.01 * 0.5**3 * opt.factors["lr"]
    prepared.load_state_dict(prepared.state_dict())


def two_ranks(program):
    """Run a program on two gloo ranks; it fails where an assertion in it does."""
    start = """
        import copy, os, sys, torch, torch.distributed as dist
        from torch import nn
        from torch.optim import SGD, AdamW
        from adaptive_optimizer import AdaptiveOptimizer
        rank = int(os.environ["RANK"])
        torch.set_num_threads(1)
        dist.init_process_group("gloo", rank=rank, world_size=2)
        torch.manual_seed(0)
    """
    port = str(20000 + os.getpid() % 20000)
    source = textwrap.dedent(start) + textwrap.dedent(program) + "\ndist.destroy_process_group()\n"
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", source],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    results = [rank.communicate(timeout=240)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(results)


def test_two_ranks_of_ddp_adapt_alike_though_their_losses_differ():
    two_ranks("""
        net = nn.parallel.DistributedDataParallel(nn.Linear(4, 1))
        opt = AdaptiveOptimizer(
            SGD(net.parameters(), lr=0.05, momentum=0.9), lr_rule="trend+variance", momentum_rule="relative",
            reward_rule="trend", accumulate=2,
        )
        data = torch.Generator().manual_seed(10 + rank)
        for step in range(20):
            for micro in range(2):
                x = torch.randn(8, 4, generator=data)
                loss = (1 + rank) * ((net(x) - x.sum(1, keepdim=True)) ** 2).mean()
                loss.backward()
                opt.step_loss(loss if step != 7 or rank == 0 else float("nan"))
            opt.step_reward(-loss.item())
            opt.step()
            opt.zero_grad()
        mine = [*opt.factors.values(), *opt.lrs, *opt.momentums, float(opt.nonfinite_losses)]
        mine = torch.tensor(mine, dtype=torch.float64)
        weights = torch.cat([p.detach().flatten() for p in net.parameters()])
        for each in (mine, weights):
            both = [torch.empty_like(each) for _ in range(2)]
            dist.all_gather(both, each)
            assert torch.equal(*both), both
        assert opt.nonfinite_losses == 1
        assert opt.factors["M"] != 1
    """)


def test_fsdp2_shards_adapt_and_resume():
    pytest.importorskip("torch.distributed.fsdp", reason="needs FSDP")
    if not hasattr(torch.distributed.fsdp, "fully_shard"):
        pytest.skip("needs torch 2.6 or later for fully_shard")
    two_ranks("""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard
        mesh = init_device_mesh("cpu", (2,))
        def make():
            torch.manual_seed(0)
            net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
            fully_shard(net, mesh=mesh)
            return net, AdaptiveOptimizer(
                AdamW(net.parameters(), lr=0.01), lr_rule="trend", betas_rule=("relative", "variance"), beta_warmup=2
            )
        def train(net, opt, first, last):
            for step in range(first, last):
                data = torch.Generator().manual_seed(100 * step + rank)
                x = torch.randn(8, 4, generator=data)
                loss = ((net(x) - x.sum(1, keepdim=True)) ** 2).mean()
                opt.zero_grad()
                loss.backward()
                opt.step_loss(loss)
                opt.step()
        net, opt = make()
        train(net, opt, 0, 5)
        again, opt_again = make()
        again.load_state_dict(net.state_dict())
        opt_again.load_state_dict(copy.deepcopy(opt.state_dict()))  # torch shares what it loads
        train(net, opt, 5, 10)
        train(again, opt_again, 5, 10)
        assert opt.factors == opt_again.factors and opt.factors["M"] != 1
        for p, q in zip(net.parameters(), again.parameters()):
            assert torch.equal(p.to_local(), q.to_local())
        both = [None, None]
        dist.all_gather_object(both, opt.factors)
        assert both[0] == both[1]
    """)
