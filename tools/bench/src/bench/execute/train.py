"""One run: train with one method, evaluate during training, test once, and record everything."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from bench.methods.driver import Driver, EvolutionDriver
from bench.methods.method import CONSTANT, Method, Setting
from bench.methods.table import METHODS
from bench.protocol.job import Job
from bench.protocol.schedules import schedule
from bench.records import machine
from bench.records.models import Config, Cost, Curve, Machine, Run
from bench.tensors import backward, number, seeded
from bench.workloads.base import Budget, GradientTask, PopulationTask, Task, Workload

Report = Callable[[float, float | None], None]  # share done, latest validation value


@dataclass
class Progress:
    """What a run has gathered so far."""

    started: float
    wall: float
    curve: Curve = field(default_factory=Curve)
    trace: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    pause: float = 0.0  # CPU seconds spent evaluating
    diverged: bool = False

    def train_cpu(self) -> float:
        """CPU seconds of training alone."""
        return time.process_time() - self.started - self.pause


def execute(job: Job, workload: Workload, report: Report = lambda share, value: None) -> Run:
    """Trains as ``job`` says and returns its record.

    The run owns its thread count and its random streams: nothing from an earlier run in the process enters it.
    """
    torch.set_num_threads(1)
    config = job.config
    method, chosen = METHODS[config.entry], str(config.params.get("schedule", CONSTANT))
    with seeded(config.seed):
        progress = Progress(time.process_time(), time.perf_counter())
        task = workload.build(config.family, Budget(**config.budget), config.seed, config.device)
        driver = method.make(task.model, config.params, Setting(config.budget["steps"], config.seed))
        if isinstance(task, GradientTask) and isinstance(driver, Driver):
            _descend(task, driver, config, chosen, progress, report)
        elif isinstance(task, PopulationTask) and isinstance(driver, EvolutionDriver):
            _evolve(task, driver, config, progress, report)
        else:
            raise TypeError(f"{config.entry} cannot run the {config.family} form of {config.workload}")
        return _record(job, workload, method, task, driver, progress)


def _descend(
    task: GradientTask, driver: Driver, config: Config, chosen: str, progress: Progress, report: Report
) -> None:
    """The loop of a method that follows a gradient."""
    steps, stops = config.budget["steps"], evaluation_steps(config.budget["steps"], config.budget["evals"])
    schedules = [found for part in driver.scheduled() if (found := schedule(chosen, part, steps)) is not None]
    losses: list[torch.Tensor] = []
    task.model.train()
    for step in range(steps):
        loss = gradient(task, driver, step)
        losses.append(loss.detach())
        if not math.isfinite(number(losses[-1])):
            progress.diverged = True
            return
        driver.step(loss)
        for part in schedules:
            part.step()
        if step + 1 in stops:
            samples = task.env_steps() or (step + 1) * task.samples_per_step
            mean = number(torch.stack(losses).mean())
            losses.clear()
            driver.evaluating(True)
            _evaluate(task, driver.knobs(), step + 1, samples, mean, progress)
            driver.evaluating(False)
            report((step + 1) / steps, progress.curve.value[-1])
            if progress.diverged:
                return


def gradient(task: GradientTask, driver: Driver, step: int) -> torch.Tensor:
    """Returns the loss of a step, its gradient taken; all that is left is the driver's step."""
    driver.before(step)
    loss = task.loss(step)
    driver.zero_grad()
    backward(loss)
    reward = task.reward()
    if reward is not None:
        driver.rewarded(reward)
    return loss


def _evolve(task: PopulationTask, driver: EvolutionDriver, config: Config, progress: Progress, report: Report) -> None:
    """The loop of an evolution strategy."""
    steps, stops = config.budget["steps"], evaluation_steps(config.budget["steps"], config.budget["evals"])
    means: list[float] = []
    for generation in range(steps):
        means.append(driver.generation(task, generation))
        if generation + 1 in stops:
            samples = task.env_steps() or (generation + 1) * driver.population * task.samples_per_member
            _evaluate(task, driver.knobs(), generation + 1, samples, sum(means) / len(means), progress)
            means.clear()
            report((generation + 1) / steps, progress.curve.value[-1])
            if progress.diverged:
                return


def evaluation_steps(steps: int, evals: int) -> set[int]:
    """After which steps to evaluate: ``evals`` times, evenly, the last step among them."""
    return {round(steps * (i + 1) / evals) for i in range(evals)}


def _evaluate(task: Task, knobs: dict[str, float], step: int, samples: int, loss: float, progress: Progress) -> None:
    """Adds a point to the curve; its CPU time is not the method's."""
    begin = time.process_time()
    value = task.validate()
    progress.pause += time.process_time() - begin
    curve = progress.curve
    progress.curve = Curve(
        step=[*curve.step, step],
        samples=[*curve.samples, samples],
        cpu=[*curve.cpu, round(progress.train_cpu(), 4)],
        loss=[*curve.loss, loss],
        value=[*curve.value, value],
    )
    for name, knob in knobs.items():
        progress.trace.setdefault(name, []).append(knob)
    progress.diverged = not math.isfinite(value)


def _record(
    job: Job, workload: Workload, method: Method, task: Task, driver: Driver | EvolutionDriver, progress: Progress
) -> Run:
    """The record of a finished or diverged run. The test metric is read here, once, and never in tuning."""
    train_cpu = progress.train_cpu()
    finished = not progress.diverged
    test = None
    if finished and job.role != "tune":
        if isinstance(driver, Driver):
            driver.evaluating(True)
        test = task.test()
        if isinstance(driver, Driver):
            driver.evaluating(False)
    curve = progress.curve
    steps = curve.step[-1] if curve.step else 0
    controller = driver if method.controls and isinstance(driver, Driver) else None
    population = driver.population if isinstance(driver, EvolutionDriver) else 0
    return Run(
        key=job.config.key,
        role=job.role,
        profile=job.profile,
        config=job.config,
        status="finished" if finished else "diverged",
        curve=_finite(curve),
        value=curve.value[-1] if finished else None,
        test=test,
        decisions=controller.decisions() if controller else None,
        arms=controller.arms() if controller else {},
        trace=progress.trace,
        cost=Cost(
            steps=steps,
            samples=curve.samples[-1] if curve.samples else 0,
            evaluations=population * steps,
            env_steps=task.env_steps(),
            train_cpu=round(train_cpu, 4),
            total_cpu=round(time.process_time() - progress.started, 4),
            wall=round(time.perf_counter() - progress.wall, 4),
            state_bytes=driver.state_bytes(),
        ),
        machine=here(job.workers),
    ).seal()


def _finite(curve: Curve) -> Curve:
    """The curve up to the last finite value."""
    keep = next((i for i, value in enumerate(curve.value) if not math.isfinite(value)), len(curve.value))
    return Curve(**{name: getattr(curve, name)[:keep] for name in Curve.model_fields})


def here(workers: int) -> Machine:
    """What this machine is and carries at the moment."""
    return Machine(
        cpu=machine.cpu_model(),
        cores=machine.cores(),
        threads=torch.get_num_threads(),
        load=round(machine.load(), 2),
        workers=workers,
        versions=machine.versions(),
        revision=machine.revision(),
        time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
