"""EGGROLL as an optimizer: perturb, evaluate, and move towards what did better."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from ._ask_and_tell import AskAndTell
from ._checks import check, check_integer
from ._distributed.group import join
from ._evaluate.evaluator import Evaluator
from ._settings import check_settings
from ._strategy import selected
from .checkpoint import checkpoint, restore
from .noise.seeded import (
    compute_es_gradient,
    generate_lora_noise,
    generate_lora_noise_batched,
    generate_noise_for_shapes,
    generate_standard_noise,
    generate_standard_noise_batched,
)
from .update import Updater

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

__all__ = [
    "TorchEggrollES",
    "compute_es_gradient",
    "generate_lora_noise",
    "generate_lora_noise_batched",
    "generate_noise_for_shapes",
    "generate_standard_noise",
    "generate_standard_noise_batched",
]


class TorchEggrollES(AskAndTell):
    """Evolution strategies with low-rank noise for any module.

    Args:
        model: moved to ``device``; evaluated in eval mode, and left in the mode it was in.
        pop_size: members per step; even when ``antithetic``.
        sigma: σ, the deviation of a perturbation's entry, in the parameters' unit.
        lr: learning rate of the default optimizer; read ``scale`` for what it multiplies.
        rank: r of the perturbation of a matrix; clipped to its smaller side.
        device: None takes the model's.
        param_filter: ``(parameter, name) -> bool``; parameters that need no gradient are never evolved.
        normalize_fitness: z-score the fitness, or only take off its mean; ``fitness`` overrides it.
        antithetic: members 2k and 2k + 1 are mirror images.
        fast_noise: kept for callers of 0.1; noise is always fast, and never stored.
        seed: of all noise; None takes ``torch.initial_seed()``, which follows ``torch.manual_seed``.
        optimizer: None for SGD, a class of torch.optim, a function of the parameters, or an optimizer that holds them.
        lr_scheduler: a function of the optimizer, or a scheduler; steps once per step.
        sigma_schedule: ``epoch -> σ``.
        weight_decay: decoupled, times the learning rate.
        max_update_norm: the largest norm of the estimate over all parameters.
        fitness: ``"zscore"``, ``"centered"``, ``"rank"``, ``"sign"``, ``"group"``, ``"question"``, ``"raw"``, or a
            function of the counted members' fitness ``(n,)`` that gives a weight for each.
        scale: ``"hyperscale"`` multiplies the mean of fᵢEᵢ by σ√N, as 0.1 and 0.2 did; ``"paper"`` by 1;
            ``"unbiased"`` by 1/σ, which with raw fitness estimates the gradient.
        engine: ``"auto"``, ``"vmap"``, ``"fold"`` or ``"loop"``.
        chunk_size: members evaluated at once; the result does not depend on it.
        memory_budget: bytes for a chunk, where ``chunk_size`` is None.
        noise: ``"gaussian"``, ``"rademacher"`` or ``"uniform"``.
        noise_reuse: epochs that share their noise; 0 never draws anew.
        group_size: members per group for ``fitness="group"``.
        process_group: whose ranks share the population: each evaluates its own pairs, they exchange fitness, and all
            make the same update. None takes the default group where torch.distributed is initialised, as it is under
            torchrun; False evaluates everything here, also inside a distributed job.
        checksum_every: epochs between two comparisons of the ranks' weights; 0 never compares them again.

    Raises:
        ValueError: a hyper-parameter lies outside its interval, or no parameter is selected.
        TypeError: a hyper-parameter is of a wrong kind.
        RuntimeError: the ranks do not begin equal, or one is lost.

    Source: Sarkar et al. 2025 (EGGROLL), https://arxiv.org/abs/2511.16652
    """

    def __init__(
        self,
        model: nn.Module,
        pop_size: int = 32,
        sigma: float = 0.02,
        lr: float = 0.05,
        rank: int = 4,
        device: torch.device | str | None = None,
        param_filter: Callable[[nn.Parameter, str], bool] | None = None,
        normalize_fitness: bool = True,
        antithetic: bool = True,
        fast_noise: bool = True,
        *,
        seed: int | None = None,
        optimizer: Any = None,
        lr_scheduler: Any = None,
        sigma_schedule: Callable[[int], float] | None = None,
        weight_decay: float = 0.0,
        max_update_norm: float | None = None,
        fitness: str | Callable[[Tensor], Tensor] | None = None,
        scale: str = "hyperscale",
        engine: str = "auto",
        chunk_size: int | None = None,
        memory_budget: int | None = None,
        noise: str = "gaussian",
        noise_reuse: int = 1,
        group_size: int | None = None,
        process_group: "ProcessGroup | Literal[False] | None" = None,
        checksum_every: int = 10,
    ) -> None:
        run: AskAndTell = self  # the class that declares what is set here
        run.model = model
        run.pop_size, run.sigma, run.rank = pop_size, sigma, rank
        run.normalize_fitness, run.antithetic, run.fast_noise = normalize_fitness, antithetic, fast_noise
        run.fitness, run.scale, run.group_size = fitness, scale, group_size
        run.noise, run.noise_reuse = noise, noise_reuse
        run.weight_decay, run.max_update_norm = weight_decay, max_update_norm
        run.sigma_schedule, run.epoch = sigma_schedule, 0
        run.seed = torch.initial_seed() if seed is None else seed
        check_integer("seed", run.seed, "(-inf, inf)")
        check("lr", lr, "[0, inf)")
        check_integer("checksum_every", checksum_every, "[0, inf)")
        run.checksum_every = checksum_every
        run.parameters = selected(model, param_filter)
        run.param_names = [p.name for p in run.parameters]
        run.param_shapes = [tuple(p.value.shape) for p in run.parameters]
        run.param_dtypes = [p.value.dtype for p in run.parameters]
        run.evaluator = Evaluator(model, run.parameters, rank, engine, chunk_size, memory_budget)
        self._follow_schedule()
        check_settings(self.settings())
        run.device = torch.device(device or run.parameters[0].value.device)
        model.to(run.device)
        run.updater = Updater(run.parameters, lr, optimizer, lr_scheduler)
        run.diagnostics = None
        run.callbacks = []
        run._pending = None
        run.ranks = join(process_group, run.device)
        run.seed = self._begin_together(seed)

    @property
    def lr(self) -> float:
        """Learning rate of the optimizer's first group; writing it sets every group."""
        return float(self.optimizer.param_groups[0]["lr"])

    @lr.setter
    def lr(self, value: float) -> None:
        check("lr", value, "[0, inf)")
        for group in self.optimizer.param_groups:
            group["lr"] = value

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer that takes the negated estimate as gradient."""
        return self.updater.optimizer

    @property
    def lr_scheduler(self) -> Any:
        """The scheduler of the optimizer, or None."""
        return self.updater.lr_scheduler

    @property
    def base_params(self) -> dict[str, Tensor]:
        """A copy of each evolved parameter, the centre of the population."""
        return {p.name: p.value.detach().clone() for p in self.parameters}

    def step(
        self,
        inputs: Any = None,
        loss_fn: Callable[[Any, Any], Any] | None = None,
        targets: Any = None,
        *,
        eval_fn: Callable[[nn.Module], Any] | None = None,
        per_member: bool | str = False,
    ) -> float:
        """Evaluate the population and move the weights: ``step(eval_fn)`` or ``step(inputs, loss_fn, targets)``.

        Args:
            inputs: of the model: a tensor, a tuple of arguments, or a dictionary of named ones.
            loss_fn: ``(outputs, targets) -> loss``, lower is better.
            targets: handed to ``loss_fn``.
            eval_fn: ``model -> fitness``, higher is better, called once per member; also accepted in the first place.
            per_member: True where ``inputs`` and ``targets`` have one slice per member in front; ``"inputs"`` or
                ``"targets"`` where only those have. Ranks pass the slices of every member, or of ``own_members``.

        Returns:
            The mean fitness over the members, of all ranks, that have one.

        Raises:
            TypeError: neither form of the call.
            RuntimeError: a rank is lost, failed, or holds another state; nothing was written, here or there.
        """
        if eval_fn is None and loss_fn is None and callable(inputs) and not isinstance(inputs, Tensor):
            inputs, eval_fn = None, inputs
        if eval_fn is not None and inputs is None and loss_fn is None:
            task = self._fitness_task(eval_fn)
        elif eval_fn is None and callable(loss_fn):
            task = self._loss_task(inputs, loss_fn, targets, per_member)
        else:
            raise TypeError("call step(eval_fn) with a callable, or step(inputs, loss_fn, targets)")
        self._check()
        return self._finish(self._of_all_ranks(self._evaluate(task)))

    def forward(self, inputs: Any, per_member: bool = False) -> Any:
        """Evaluate the members of this epoch's ``ask()`` on ``inputs``; nothing is updated.

        Args:
            inputs: of the model: a tensor, a tuple of arguments, or a dictionary of named ones.
            per_member: every tensor has one slice per member in front.

        Returns:
            The model's outputs, with ``(members, ...)`` in front of every tensor: all of ``pop_size``, or this rank's;
            an empty list on a rank without any.
        """
        self._check()
        return self._run(self.forward_task(inputs, per_member))

    def state_dict(self) -> dict[str, Any]:
        """Give everything that a run needs to go on to the bit: tensors, numbers, strings, lists and dictionaries."""
        return checkpoint(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over weights, settings, optimizer and noise of a checkpoint, those of 0.2.0 included.

        Raises:
            KeyError: something is missing.
            ValueError: the checkpoint is of other parameters; nothing is written then.
        """
        restore(self, state)

    def __repr__(self) -> str:
        """Show every setting."""
        chosen = {**self.settings()._asdict(), "lr": self.lr, "seed": self.seed, "optimizer": self.optimizer}
        return f"TorchEggrollES({', '.join(f'{name}={value!r}' for name, value in chosen.items())})"
