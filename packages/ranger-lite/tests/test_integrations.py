"""RangerLite as a plain torch optimizer inside trainers, replicas and compilers."""

import os
import socket

import pytest
import torch
from rangerlite import RangerLite
from torch import nn

pytestmark = pytest.mark.slow


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def data():
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(32, 4, generator=draw)
    return x, x.sum(1, keepdim=True).sin()


def groups(net, **settings):
    return RangerLite(
        [
            {"params": net[0].parameters(), "lr": 0.02, "lookahead_steps": 3},
            {"params": net[2].parameters(), "lookahead_alpha": 0.8},
        ],
        lr=0.05,
        lookahead_steps=4,
        **settings,
    )


def weights(net):
    return [p.detach().clone() for p in net.parameters()]


@pytest.mark.filterwarnings("ignore")
def test_lightning_with_two_groups_stopped_and_resumed_equals_the_unbroken_run(tmp_path):
    lightning = pytest.importorskip("lightning", reason="needs lightning")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = model()

        def training_step(self, batch, _):
            x, y = batch
            return nn.functional.mse_loss(self.net(x), y)

        def configure_optimizers(self):
            optimizer = groups(self.net)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [0.05, 0.1], total_steps=20)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def fit(epochs, resume=None):
        module = Module()
        trainer = lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=tmp_path,
            enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        )  # fmt: skip
        batches = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data()), batch_size=8)
        trainer.fit(module, batches, ckpt_path=resume)
        return module, trainer

    unbroken, _ = fit(5)
    _, stopped = fit(2)
    stopped.save_checkpoint(tmp_path / "stopped.ckpt")
    resumed, _ = fit(5, tmp_path / "stopped.ckpt")
    assert all(map(torch.equal, unbroken.parameters(), resumed.parameters()))
    assert not torch.equal(weights(unbroken.net)[0], weights(model())[0])


@pytest.mark.parametrize("automatic", [True, False], ids=["automatic", "manual"])
@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
@pytest.mark.filterwarnings("ignore")
def test_lightning_steps_it_as_a_loop_by_hand_does(tmp_path, automatic, precision):
    lightning = pytest.importorskip("lightning", reason="needs lightning")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = model()
            self.automatic_optimization = automatic

        def training_step(self, batch, _):
            loss = nn.functional.mse_loss(self.net(batch[0]), batch[1])
            if not automatic:
                optimizer = self.optimizers()
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
            return loss

        def configure_optimizers(self):
            return groups(self.net)

    batches = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data()), batch_size=8)
    module = Module()
    lightning.Trainer(
        max_epochs=5, accelerator="cpu", precision=precision, logger=False, enable_checkpointing=False,
        default_root_dir=tmp_path, enable_progress_bar=False, enable_model_summary=False,
    ).fit(module, batches)  # fmt: skip

    by_hand = model()
    optimizer = groups(by_hand)
    for _ in range(5):
        for x, y in batches:
            optimizer.zero_grad()
            nn.functional.mse_loss(by_hand(x), y).backward()
            optimizer.step()
    if precision == "32-true":
        assert all(map(torch.equal, module.net.parameters(), by_hand.parameters()))
    else:  # the scaler skips first steps until its scale fits
        x, y = data()
        lightnings, ours, start = (nn.functional.mse_loss(net(x), y).item() for net in (module.net, by_hand, model()))
        assert lightnings == pytest.approx(ours, abs=0.5 * (start - ours))
        assert all(state["step"] >= 17 for state in module.optimizers().optimizer.state.values())


@pytest.mark.filterwarnings("ignore")
def test_transformers_trainer_resumes_to_the_bit(tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs transformers")

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = model()

        def forward(self, x, labels):
            return {"loss": nn.functional.mse_loss(self.net(x), labels)}

    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return 32

        def __getitem__(self, i):
            x, y = data()
            return {"x": x[i], "labels": y[i]}

    def train(folder, resume=None):
        net = Net()
        optimizer = groups(net.net)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path / folder), max_steps=9, per_device_train_batch_size=8, save_steps=4, report_to=[],
            use_cpu=True, disable_tqdm=True, seed=0, data_seed=0,
        )  # fmt: skip
        trainer = transformers.Trainer(net, arguments, train_dataset=Rows(), optimizers=(optimizer, schedule))
        trainer.train(resume_from_checkpoint=resume)
        return net

    unbroken = train("a")
    resumed = train("b", str(tmp_path / "a" / "checkpoint-4"))
    assert all(map(torch.equal, unbroken.parameters(), resumed.parameters()))


@pytest.mark.filterwarnings("ignore")
def test_accelerate_prepares_and_steps_it():
    accelerate = pytest.importorskip("accelerate", reason="needs accelerate")
    plain, prepared = model(), model()
    by_hand, by_accelerate = groups(plain), groups(prepared)
    accelerator = accelerate.Accelerator(cpu=True)
    net, optimizer = accelerator.prepare(prepared, by_accelerate)
    x, y = data()
    for _ in range(9):
        for each, opt, backward in ((plain, by_hand, torch.Tensor.backward), (net, optimizer, accelerator.backward)):
            opt.zero_grad()
            backward(nn.functional.mse_loss(each(x), y))
            opt.step()
    assert all(map(torch.equal, plain.parameters(), prepared.parameters()))


def test_a_grad_scaler_overflow_skips_the_step():
    net = model()
    optimizer = groups(net)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    x, y = data()
    for bad in (False, True, False):
        optimizer.zero_grad()
        before = weights(net)
        scaler.scale(nn.functional.mse_loss(net(x), y)).backward()
        if bad:
            net[0].weight.grad[0, 0] = float("inf")
        scaler.step(optimizer)
        scaler.update()
        assert all(map(torch.equal, before, net.parameters())) == bad
    assert all(state["step"].item() == 2 for state in optimizer.state.values())


@pytest.mark.parametrize("settings", [{}, {"fused": True}, {"foreach": True}, {"capturable": True}], ids=str)
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_step_computes_the_same(settings):
    plain, compiled = model(), model()
    by_hand, by_compiler = groups(plain, **settings), groups(compiled, **settings)
    step = torch.compile(by_compiler.step)
    x, y = data()
    for _ in range(9):
        for net, optimizer in ((plain, by_hand), (compiled, by_compiler)):
            optimizer.zero_grad()
            nn.functional.mse_loss(net(x), y).backward()
        by_hand.step()
        step()
    torch.testing.assert_close(weights(plain), weights(compiled))
    by_compiler.step()
    assert all(state["step"].item() == 10 for state in by_compiler.state.values())


def _free_port():
    with socket.socket() as s:
        s.bind(("localhost", 0))
        return s.getsockname()[1]


def _start(rank, port):
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE="2")
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)


def _train(net, optimizer, steps, rank=None):
    x, y = data()
    half = slice(None) if rank is None else slice(16 * rank, 16 * (rank + 1))
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(net(x[half]), y[half]).backward()
        optimizer.step()


def _ddp(rank, port, settings):
    _start(rank, port)
    net = model()
    replica = nn.parallel.DistributedDataParallel(net)
    _train(replica, groups(net, **settings), 50, rank)
    for p in net.parameters():
        others = [torch.empty_like(p) for _ in range(2)]
        torch.distributed.all_gather(others, p.detach())
        assert torch.equal(*others)
    alone = model()
    _train(alone, groups(alone, **settings), 50)
    torch.testing.assert_close(weights(net), weights(alone), rtol=1e-3, atol=1e-3)
    torch.distributed.destroy_process_group()


def _fsdp2(rank, port, settings):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    _start(rank, port)
    mesh = init_device_mesh("cpu", (2,))
    net = model()
    for layer in (net[0], net[2], net):
        fully_shard(layer, mesh=mesh)
    optimizer = groups(net, **settings)
    _train(net, optimizer, 25, rank)
    fast = [p.full_tensor().clone() for p in net.parameters()]
    with optimizer.slow_weights():
        slow = [p.full_tensor() for p in net.parameters()]
        assert not all(map(torch.equal, slow, fast))
    _train(net, optimizer, 25, rank)
    alone = model()
    _train(alone, groups(alone, **settings), 50)
    whole = [p.full_tensor() for p in net.parameters()]
    torch.testing.assert_close(whole, weights(alone), rtol=1e-3, atol=1e-3)
    assert all("DTensor" in type(state["cached_params"]).__name__ for state in optimizer.state.values())
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("settings", [{}, {"fused": True}, {"foreach": True}], ids=str)
@pytest.mark.parametrize("job", [_ddp, _fsdp2], ids=["DDP", "FSDP2"])
@pytest.mark.skipif(torch.__version__ < "2.6", reason="fully_shard is public from torch 2.6 on")
@pytest.mark.filterwarnings("ignore")
def test_two_processes_stay_together_and_equal_one(job, settings):
    context = torch.multiprocessing.get_context("fork")
    port = _free_port()
    processes = [context.Process(target=job, args=(rank, port, settings)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
