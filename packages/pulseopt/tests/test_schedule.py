"""Schedulers of every kind: what their step requires is what holds it back, and nothing else."""

import pytest
import torch
from pulseopt import AEES
from torch import nn


class Seen(torch.optim.lr_scheduler.LRScheduler):
    """Remembers what it was stepped with."""

    def get_lr(self):
        return [base / (1 + self.last_epoch) for base in self.base_lrs]

    def note(self, *arguments):
        self.seen = arguments
        super().step()


class OptionalMetrics(Seen):
    def step(self, epoch=None, metrics=None):
        self.note(epoch, metrics)


class OptionalMetric(Seen):
    def step(self, metric=None, epoch=None):
        self.note(epoch, metric)


class EpochAndMetric(Seen):
    def step(self, epoch=1, metric=None):
        self.note(epoch, metric)


class Counted:
    """Not a scheduler of torch's; timm's signature."""

    def __init__(self, optimizer):
        self.optimizer, self.seen, self.last_epoch = optimizer, None, 0

    def step(self, epoch, metric=None):
        self.seen, self.last_epoch = (epoch, metric), epoch


class Keyworded(Seen):
    def step(self, *, metrics=None):
        self.note(None, metrics)


def run(scheduler_class, steps=3, **end):
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    scheduler = scheduler_class(optimizer)
    aees = AEES(optimizer, lr_scheduler=scheduler, seed=0)
    for step in range(steps):
        aees.step_start(step)
        weight.grad = torch.ones(3)
        aees.step_end(1.0, **end)
    return scheduler


@pytest.mark.parametrize("kind", [OptionalMetrics, OptionalMetric, EpochAndMetric, Keyworded, Counted])
def test_an_optional_metric_holds_no_step_back(kind):
    assert run(kind).last_epoch == 3


@pytest.mark.parametrize("kind", [OptionalMetrics, OptionalMetric, EpochAndMetric, Keyworded, Counted])
def test_a_metric_arrives_as_the_metric(kind):
    assert run(kind, metrics=0.25).seen[1] == 0.25


def test_an_epoch_that_is_required_counts_the_steps_and_is_resumed():
    assert run(Counted).seen == (3, None)
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    first, second = (AEES(optimizer, lr_scheduler=Counted(optimizer), seed=0) for _ in range(2))
    for step in range(5):
        aees = first if step < 3 else second
        if step == 3:
            second.load_state_dict(first.state_dict())
        aees.step_start(step)
        aees.step_end(1.0)
    assert second._schedule._scheduler.seen == (5, None)


def test_a_required_metric_holds_the_step_back_until_it_comes():
    class Required(Seen):
        def step(self, metric=0):
            self.note(None, metric)

    Required.step.__defaults__ = None
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    Required.step.__defaults__ = (0,)  # the constructor steps once
    scheduler = Required(optimizer)
    Required.step.__defaults__ = None
    aees = AEES(optimizer, lr_scheduler=scheduler)
    for step, metric in enumerate((None, 1.0, None, 2.0)):
        aees.step_start(step)
        aees.step_end(1.0, metrics=metric)
    assert scheduler.last_epoch == 2


@pytest.mark.parametrize("attribute", ["scheduler", "lr_scheduler"])
def test_wrappers_that_hide_the_signature_are_looked_into(attribute):
    class Wrapper:
        def __init__(self, optimizer, kind):
            setattr(self, attribute, kind(optimizer))

        def step(self, *args, **kwargs):
            getattr(self, attribute).step(*args, **kwargs)

    plateau = run(lambda o: Wrapper(o, torch.optim.lr_scheduler.ReduceLROnPlateau))
    assert getattr(plateau, attribute).last_epoch == 0, "no metric, no step"
    plateau = run(lambda o: Wrapper(o, torch.optim.lr_scheduler.ReduceLROnPlateau), metrics=1.0)
    assert getattr(plateau, attribute).last_epoch == 3
    hidden = run(lambda o: Wrapper(o, OptionalMetrics), metrics=0.5)
    assert getattr(hidden, attribute).seen == (None, 0.5)


def test_accelerates_wrapper_is_stepped():
    accelerate = pytest.importorskip("accelerate", reason="needs the transformers extra")
    accelerator = accelerate.Accelerator(cpu=True)
    weight = nn.Parameter(torch.ones(3))
    bare = torch.optim.SGD([weight], lr=0.1)
    optimizer, scheduler = accelerator.prepare(bare, torch.optim.lr_scheduler.StepLR(bare, 1, 0.5))
    aees = AEES(optimizer, lr_scheduler=scheduler)
    for step in range(3):
        aees.step_start(step)
        weight.grad = torch.ones(3)
        aees.step_end(1.0)
    assert scheduler.scheduler.last_epoch == 3


def test_a_wrapper_that_hides_everything_is_stepped_without_arguments():
    class Opaque:
        calls = 0

        def step(self, *args, **kwargs):
            assert not args
            assert not kwargs
            self.calls += 1

    assert run(lambda _: Opaque()).calls == 3


@pytest.mark.parametrize(
    ("step", "wants"),
    [(lambda self, loss, scale: None, "loss, scale"), (lambda self, metrics, lr: None, "metrics, lr")],
)
def test_a_scheduler_that_cannot_be_called_says_which_arguments_it_wants(step, wants):
    odd = type("Odd", (), {"step": step})
    with pytest.raises(TypeError, match=rf"Odd\.step\(\) wants {wants}"):
        run(lambda _: odd())
    with pytest.raises(TypeError, match=r"must have a step\(\)"):
        run(lambda _: 3)
