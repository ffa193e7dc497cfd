"""The machinery behind the public class: draw, shape, estimate, move, report."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ._distributed.ranks import Ranks
from ._evaluate.evaluator import Evaluator, precise_dtype, refill, sliced
from ._evaluate.task import Evolved, Task
from ._evaluate.tree import tensors_of
from ._ops.products import full
from ._settings import Settings, check_settings
from .diagnostics import Diagnostics, fitness_statistics, pair_signal, regime_warning
from .fitness import Shaping, shape_fitness
from .noise.cached import Held
from .noise.estimate import estimate, pair_weights, scale_of
from .noise.perturbation import Delta, Members, Noise, Shape
from .population import MemberSpec
from .update import Updater


class Strategy:
    """State of a run; ``TorchEggrollES`` sets it up and gives it its public methods."""

    model: nn.Module
    device: torch.device
    parameters: list[Evolved]
    param_names: list[str]
    param_shapes: list[tuple[int, ...]]
    param_dtypes: list[torch.dtype]
    pop_size: int
    sigma: float
    rank: int
    normalize_fitness: bool
    antithetic: bool
    fast_noise: bool
    fitness: str | Shaping | None
    scale: str
    noise: str
    noise_reuse: int
    group_size: int | None
    weight_decay: float
    max_update_norm: float | None
    seed: int
    epoch: int
    sigma_schedule: Callable[[int], float] | None
    evaluator: Evaluator
    updater: Updater
    diagnostics: Diagnostics | None
    callbacks: list[Callable[[Diagnostics], object]]
    ranks: Ranks
    _pending: dict[int, Any] | None
    _held: Held | None = None

    def settings(self) -> Settings:
        """Collect the hyper-parameters as they are now."""
        default = "zscore" if self.normalize_fitness else "centered"
        return Settings(
            self.pop_size,
            self.sigma,
            self.rank,
            self.antithetic,
            default if self.fitness is None else self.fitness,
            self.scale,
            self.evaluator.engine,
            self.evaluator.chunk_size,
            self.evaluator.memory_budget,
            self.noise,
            self.noise_reuse,
            self.group_size,
            self.weight_decay,
            self.max_update_norm,
        )

    @property
    def own_members(self) -> range:
        """The members that this process evaluates: all of them, or whole pairs where ranks share the population."""
        return self.ranks.members(self.pop_size, self.antithetic)

    @property
    def shapes(self) -> list[Shape]:
        """How each parameter is perturbed, at the rank of now."""
        return self.evaluator.shapes

    def _check(self) -> None:
        check_settings(self.settings())
        self.evaluator.set_rank(self.rank)

    def _follow_schedule(self) -> None:
        if self.sigma_schedule is not None:
            self.sigma = float(self.sigma_schedule(self.epoch))

    def discard_population(self) -> None:
        """Close an open population without an update."""
        self._pending = None

    def _draw_epoch(self, epoch: int) -> int:
        return epoch // self.noise_reuse if self.noise_reuse else 0

    def perturbations(self, members: list[int], spec: MemberSpec | None = None) -> list[Delta]:
        """Draw the factors of some members of this epoch, or of the epoch of ``spec``."""
        seed, epoch, sigma = self.seed, self.epoch, self.sigma
        if spec is not None:
            seed, epoch = spec.seed, spec.epoch
            sigma = self.sigma if self.sigma_schedule is None else float(self.sigma_schedule(epoch))
        epoch = self._draw_epoch(epoch)

        def draw() -> list[Delta]:
            chosen = Members(members, self.antithetic, self.device)
            return self.evaluator.deltas(Noise(seed, self.noise), epoch, sigma, chosen)

        if self._held is None:
            return draw()
        return self._held.get((seed, epoch, sigma, self.noise, self.rank, self.antithetic), members, draw)

    def _spec(self, member: int | MemberSpec) -> MemberSpec:
        spec = MemberSpec(self.seed, self.epoch, member) if isinstance(member, int) else member
        if not 0 <= spec.member < self.pop_size:
            raise ValueError(f"member must be in [0, {self.pop_size}), got {spec.member}")
        return spec

    def _check_specs(self, fitnesses: Mapping[Any, Any]) -> None:
        for member in fitnesses:
            if isinstance(member, MemberSpec) and (member.seed, member.epoch) != (self.seed, self.epoch):
                raise ValueError(
                    f"fitness must be of this population, seed {self.seed} and epoch {self.epoch}, got {member}; "
                    "drop results that came too late"
                )

    def _own_data(self, tree: Any, name: str) -> list[Tensor]:
        """List the slices of this process's members, of a tree that has those, or those of every member."""
        own, tensors = self.own_members, tensors_of(tree)
        if len(own) < self.pop_size and all(t.dim() and t.shape[0] == len(own) for t in tensors):
            return tensors
        return [t[own.start : own.stop] for t in sliced(tree, self.pop_size, name)]

    def forward_task(self, inputs: Any, per_member: bool) -> Task:
        """Ask each member for the model's outputs."""
        data = self._own_data(inputs, "inputs") if per_member else []

        def forward(own: list[Any]) -> Any:
            return call_model(self.model, refill(inputs, own) if per_member else inputs)

        return Task(forward, None, data)

    def _fitness_task(self, eval_fn: Callable[[nn.Module], Any]) -> Task:
        def finish(_: Any, __: list[Any]) -> Any:
            return eval_fn(self.model)

        return Task(None, finish, [])

    def _loss_task(self, inputs: Any, loss_fn: Callable[[Any, Any], Any], targets: Any, per_member: bool | str) -> Task:
        if per_member not in (True, False, "inputs", "targets"):
            raise ValueError(f"per_member must be True, False, 'inputs' or 'targets', got {per_member!r}")
        own_inputs = self._own_data(inputs, "inputs") if per_member in (True, "inputs") else []
        own_targets = self._own_data(targets, "targets") if per_member in (True, "targets") else []

        def forward(data: list[Any]) -> Any:
            return call_model(self.model, refill(inputs, data[: len(own_inputs)]) if own_inputs else inputs)

        def finish(outputs: Any, data: list[Any]) -> Any:
            return -loss_fn(outputs, refill(targets, data[len(own_inputs) :]) if own_targets else targets)

        return Task(forward, finish, [*own_inputs, *own_targets])

    def _dense(self, members: list[int]) -> dict[str, Tensor]:
        """Form some members in full: name to ``(members, *shape)``, with everything that is not evolved."""
        deltas = dict(zip(self.param_names, self.perturbations(members), strict=True))
        out: dict[str, Tensor] = {}
        for name, value in (*self.model.named_parameters(), *self.model.named_buffers()):
            if name in deltas:
                precise = value.detach().to(precise_dtype(value.dtype))
                out[name] = (precise + full(tuple(value.shape), *deltas[name])).to(value.dtype)
            else:
                out[name] = value.detach().unsqueeze(0).expand(len(members), *value.shape)
        return out

    def _finish(self, s: Tensor) -> float:
        """Shape the fitness, move the weights, close the epoch."""
        if len(s) != self.pop_size:
            raise ValueError(f"Expected {self.pop_size} fitness scores, got {len(s)}")
        settings = self.settings()
        if settings.fitness == "question" and s.dim() == 1:
            s = s.unsqueeze(1)
        f, counted = shape_fitness(s, settings.fitness, self.antithetic, self.group_size)
        number = int(counted.sum())
        norms = self._move(f, number) if number else {}
        statistics = fitness_statistics(s)
        signal = pair_signal(s, counted, self.antithetic)
        self.diagnostics = self._diagnose(statistics, number, signal, norms)
        self.epoch += 1
        self._pending = None
        self._follow_schedule()
        self._warn_of_the_regime(self.diagnostics)
        for callback in self.callbacks:
            callback(self.diagnostics)
        return statistics["fitness_mean"]

    def _diagnose(
        self, statistics: dict[str, float], number: int, signal: float, norms: dict[str, Tensor]
    ) -> Diagnostics:
        norm = {name: float(value) for name, value in norms.items()}
        weight = norm.get("weight_norm", 0.0)
        return Diagnostics(
            epoch=self.epoch,
            engine=self.evaluator.last,
            sigma=float(self.sigma),
            lr=float(self.updater.optimizer.param_groups[0]["lr"]),
            counted=number,
            dropped=self.pop_size - number,
            pair_signal=signal,
            update_norm=norm.get("update_norm", 0.0),
            weight_norm=weight,
            update_ratio=norm.get("moved_norm", 0.0) / weight if weight else 0.0,
            sigma_root_d=float(self.sigma) * sum(p.value.numel() for p in self.parameters) ** 0.5,
            **statistics,
        )

    def _warn_of_the_regime(self, seen: Diagnostics) -> None:
        """Warn once in a run."""
        message = None if "regime" in self.evaluator.warned else regime_warning(seen)
        if message is not None:
            self.evaluator.warned.add("regime")
            warnings.warn(message, stacklevel=4)

    def _move(self, f: Tensor, number: int) -> dict[str, Tensor]:
        factor = scale_of(self.scale, self.sigma, number) / number
        weights = pair_weights(f, self.antithetic).to(self.device)
        noise, epoch = Noise(self.seed, self.noise), self._draw_epoch(self.epoch)

        def ascent(j: int) -> Tensor:
            dtype = precise_dtype(self.parameters[j].value.dtype)
            return estimate(noise, epoch, j, self.shapes[j], weights, factor, dtype)

        with torch.no_grad():
            return self.updater.apply(ascent, self.max_update_norm, self.weight_decay)


def call_model(model: nn.Module, inputs: Any) -> Any:
    """Call the model: a tuple holds its arguments, a dictionary its named ones."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def selected(model: nn.Module, param_filter: Callable[[nn.Parameter, str], bool] | None) -> list[Evolved]:
    """List what evolves; tied parameters once.

    Raises:
        ValueError: nothing is selected, or something can not be perturbed.
    """
    chosen = [
        Evolved(name, p)
        for name, p in model.named_parameters()
        if p.requires_grad and (param_filter is None or param_filter(p, name))
    ]
    if not chosen:
        raise ValueError("TorchEggrollES: no parameters selected for ES.")
    for name, p in chosen:
        if not p.is_floating_point() or p.layout != torch.strided:
            raise ValueError(f"evolved parameters must be dense real floating-point tensors, got {name!r}: {p.dtype}")
    return chosen
