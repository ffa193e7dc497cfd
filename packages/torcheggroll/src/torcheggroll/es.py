"""EGGROLL as an optimizer: perturb, evaluate, and move towards better members."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from ._checks import check, check_integer
from ._distributed.group import begin, join
from ._distributed.remote import RemoteMembers
from ._distributed.state import SharedState
from ._evaluate.evaluator import Evaluator
from ._evaluate.loop import one_member
from ._evaluate.randomness import random_key
from ._evaluate.task import MemberData, Task, call_model, fitness_task, loss_task, output_task, sliced_parts
from ._settings import SAVED, Settings, check_same_parameters, check_settings
from .diagnostics import Diagnostics, History, diagnose, regime_warning
from .filters import evolved_parameters
from .fitness import alike, fitness_table, shape_fitness
from .generation.adapters import adapters
from .generation.generate import Generated, TextGenerator
from .generation.rewards import Reward, RewardPool
from .generation.step import step_reward
from .noise.estimate import pair_weights
from .noise.model import Draw, ModelNoise
from .noise.perturbation import Delta
from .noise.seeded import (
    compute_es_gradient,
    generate_lora_noise,
    generate_lora_noise_batched,
    generate_noise_for_shapes,
    generate_standard_noise,
    generate_standard_noise_batched,
)
from .noise.sigma import Sigma, adapted, spread_of
from .population import MemberSpec, Population, dense_members, lora_factors, results_by_member
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

_UNCOUNTED = (
    "at least one pair must have a finite fitness for a step to move anything, but every fitness was missing, NaN or "
    "infinite: check the fitness function, loss or reward on the model itself"
)
_ALIKE = (
    "the members must differ in fitness for a step to move anything, but all scored alike at sigma={sigma}: raise "
    "sigma, measure a finer fitness, or check that the selected parameters act on it"
)


class TorchEggrollES:
    """Evolution strategies with low-rank noise for any module.

    Args:
        model: the model to train. It is moved to ``device``, evaluated in eval mode, and left in its own mode.
        pop_size: members per step; even when ``antithetic``.
        sigma: σ, the standard deviation of the entries of a perturbation, in the unit of the parameters: a number; a
            mapping from name patterns, such as ``{"*.bias": 0.001, "*": 0.01}``, where the first match counts; or
            ``"relative"``: 0.05 of the initial standard deviation of each parameter. ``es.sigma`` is the largest, or
            the fraction.
        lr: learning rate of the default optimizer; multiplies the estimate after ``scale``.
        rank: r of the perturbation of a matrix; clipped to its smaller side.
        device: where to move the model; None keeps its device.
        param_filter: ``(parameter, name) -> bool``, what evolves; parameters that require no gradient never do.
        normalize_fitness: z-score the fitness; False only subtracts its mean; ``fitness`` overrides it.
        antithetic: members 2k and 2k + 1 are mirror images.
        fast_noise: kept for callers of 0.1; has no effect.
        seed: seed of all noise; None takes ``torch.initial_seed()``, which follows ``torch.manual_seed``.
        optimizer: None for SGD, a class of torch.optim, a function of the parameters, or an optimizer that holds them.
        lr_scheduler: a function of the optimizer, or a scheduler; stepped once per step.
        sigma_schedule: ``epoch -> σ``, where epoch is the number of the generation.
        weight_decay: decoupled, multiplied by the learning rate.
        max_update_norm: the largest norm of the estimate over all parameters; larger ones are scaled down.
        fitness: ``"zscore"``, ``"centered"``, ``"rank"``, ``"sign"``, ``"group"``, ``"question"``, ``"raw"``, or a
            function from the fitness ``(n,)`` of the counted members to a weight for each.
        scale: ``"hyperscale"`` multiplies the mean of fᵢEᵢ by σ√N, as 0.1 and 0.2 did; ``"paper"`` by 1;
            ``"unbiased"`` by 1/σ, which with raw fitness estimates the gradient.
        engine: ``"auto"``, ``"vmap"``, ``"fold"`` or ``"loop"``.
        chunk_size: members evaluated at once; the result does not depend on it.
        memory_budget: bytes for a chunk, where ``chunk_size`` is None.
        noise: ``"gaussian"``, ``"rademacher"`` or ``"uniform"``.
        noise_reuse: generations that share their noise; 0 for all.
        group_size: members per group for ``fitness="group"``.
        process_group: the ranks that share the population: each evaluates its own pairs, they exchange fitness, and all
            make the same update. None takes the default group where torch.distributed is initialised, as under
            torchrun; False evaluates everything in this process, also inside a distributed job.
        checksum_every: generations between comparisons of the weights across ranks; 0 for never.
        audit_every: evaluations between checks of a fast engine against the loop; 0 for never.
        adapt_sigma: lower σ where pairs show more curvature than slope, and raise it again, never above ``sigma``.
        small_matrices: ``"dense"`` noise for matrices whose factors hold at least as many numbers, r (m + n) ≥ m n, or
            ``"factored"``, as 0.3.0 did.
        stacked_matrices: how to perturb a weight ``(E, m, n)`` outside convolutions, such as that of experts:
            ``"separate"`` draws factors for each of its E matrices, ``"flattened"`` takes it as one matrix, E by m n,
            as 0.3.0 did.
        module_state: ``"restore"`` undoes what a forward pass changes in buffers and attributes; ``"centre"`` ends a
            step with a forward pass of the updated model on the step's inputs, and keeps the state that it leaves.

    Raises:
        ValueError: a hyper-parameter lies outside its interval, or no parameter is selected.
        TypeError: a hyper-parameter is of the wrong type.
        RuntimeError: the ranks do not start equal, or one is lost.

    Source: Sarkar et al. 2025 (EGGROLL), https://arxiv.org/abs/2511.16652

    Example:
        >>> import torch
        >>> from torcheggroll import TorchEggrollES
        >>> x, y = torch.randn(64, 2), torch.randn(64, 1)
        >>> es = TorchEggrollES(torch.nn.Linear(2, 1), pop_size=64, sigma=0.1, lr=0.5, seed=0)
        >>> before = es.step(x, torch.nn.functional.mse_loss, y)
        >>> for _ in range(20):
        ...     after = es.step(x, torch.nn.functional.mse_loss, y)
        >>> after > before, es.epoch
        (True, 21)
    """

    def __init__(
        self,
        model: nn.Module,
        pop_size: int = 32,
        sigma: Sigma = 0.02,
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
        audit_every: int = 100,
        adapt_sigma: bool = False,
        small_matrices: str = "dense",
        stacked_matrices: str = "separate",
        module_state: str = "restore",
    ) -> None:
        self.model = model
        self.pop_size, self.rank = pop_size, rank
        self.normalize_fitness, self.antithetic, self.fast_noise = normalize_fitness, antithetic, fast_noise
        self.fitness, self.scale, self.group_size = fitness, scale, group_size
        self.noise, self.noise_reuse = noise, noise_reuse
        self.weight_decay, self.max_update_norm = weight_decay, max_update_norm
        self.sigma_schedule, self.checksum_every = sigma_schedule, checksum_every
        self.seed: int = torch.initial_seed() if seed is None else seed
        self.epoch: int = 0
        self.parameters = evolved_parameters(model, param_filter)
        self.sigma, self.sigma_shares = spread_of(sigma, self.parameters)
        self.sigma_limit, self.adapt_sigma = self.sigma, adapt_sigma
        self.small_matrices, self.stacked_matrices = small_matrices, stacked_matrices
        self.module_state = module_state
        self.param_names = [p.name for p in self.parameters]
        self.param_shapes = [tuple(p.value.shape) for p in self.parameters]
        self.param_dtypes = [p.value.dtype for p in self.parameters]
        self.evaluator = Evaluator(model, self.parameters, engine, chunk_size, memory_budget, audit_every)
        self.texts = TextGenerator(self.evaluator)
        self._follow_schedule()
        check_integer("seed", self.seed, "(-inf, inf)")
        check("lr", lr, "[0, inf)")
        check_integer("checksum_every", checksum_every, "[0, inf)")
        self._check()
        self.device = torch.device(device or self.parameters[0].value.device)
        model.to(self.device)
        self.model_noise = ModelNoise(self.parameters)
        self.updater = Updater(self.parameters, lr, optimizer, lr_scheduler)
        self.diagnostics: Diagnostics | None = None
        self.callbacks: list[Callable[[Diagnostics], object]] = []
        self._history = History()
        self._told: dict[int, Any] | None = None  # of the open population, by member
        self._differed = False  # whether members ever differed in fitness
        self._evaluations = 0  # of this generation; each draws random numbers of its own
        self._verify = False  # whether the next exchange compares the weights, whatever the generation
        self.ranks = join(process_group, self.device)
        evolved = str(list(zip(self.param_names, self.param_shapes, self.param_dtypes, strict=True)))
        self.seed = begin(self.ranks, self._state(), seed, model, evolved)

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
        """The optimizer, which receives the negated estimate as the gradient."""
        return self.updater.optimizer

    @property
    def lr_scheduler(self) -> Any:
        """The scheduler of the optimizer, or None."""
        return self.updater.lr_scheduler

    @property
    def base_params(self) -> dict[str, Tensor]:
        """A copy of each evolved parameter, the centre of the population."""
        return {p.name: p.value.detach().clone() for p in self.parameters}

    @property
    def own_members(self) -> range:
        """The members that this process evaluates, which are some whole pairs where ranks share the population."""
        return self.shares[self.ranks.rank]

    @property
    def shares(self) -> list[range]:
        """The members that each rank evaluates."""
        return self.ranks.shares(self.pop_size, self.antithetic)

    def step(
        self,
        inputs: Any = None,
        loss_fn: Callable[[Any, Any], Any] | None = None,
        targets: Any = None,
        *,
        eval_fn: Callable[[nn.Module], Any] | None = None,
        per_member: bool | str = False,
    ) -> float:
        """Evaluates the population and moves the weights: ``step(eval_fn)`` or ``step(inputs, loss_fn, targets)``.

        Args:
            inputs: inputs of the model: a tensor, a tuple of arguments, or a dictionary of named ones.
            loss_fn: ``(outputs, targets) -> loss``, lower is better.
            targets: passed to ``loss_fn``.
            eval_fn: ``model -> fitness``, higher is better, called once per member; also accepted as first argument.
            per_member: True if ``inputs`` and ``targets`` have one slice per member as their first dimension;
                ``"inputs"`` or ``"targets"`` if only those have. Ranks pass the slices of all members, or those of
                ``own_members``.

        Returns:
            The mean fitness over the members of all ranks; dropped members do not count.

        Raises:
            TypeError: the call has neither form.
            RuntimeError: a rank is lost, failed, or holds another state; no rank has written anything.
        """
        task = self.step_task(inputs, loss_fn, targets, eval_fn, per_member)
        self._check()
        if task.data and self.module_state == "centre":
            raise ValueError("module_state='centre' evaluates the centre on what all members share; share the data")
        with self.evaluation():
            fitness = self.measure(task)
        mean = self._advance(fitness)
        if self.module_state == "centre":
            self.evaluator.advance(task._replace(key=random_key(self.seed, self.epoch, -1)))
        return mean

    def step_task(self, inputs: Any, loss_fn: Any, targets: Any, eval_fn: Any, per_member: bool | str) -> Task:
        """Returns the arguments of ``step`` as a task.

        Args:
            inputs, loss_fn, targets, eval_fn, per_member: as in ``step``.

        Raises:
            TypeError: the call has neither form of ``step``.
        """
        if eval_fn is None and loss_fn is None and callable(inputs) and not isinstance(inputs, Tensor):
            inputs, eval_fn = None, inputs
        if eval_fn is not None and inputs is None and loss_fn is None:
            return fitness_task(lambda: eval_fn(self.model))
        if eval_fn is not None or not callable(loss_fn):
            raise TypeError("call step(eval_fn) with a callable, or step(inputs, loss_fn, targets)")
        sliced = sliced_parts(per_member)
        given = self.member_data(inputs, sliced[0], "inputs"), self.member_data(targets, sliced[1], "targets")
        return loss_task(lambda x: call_model(self.model, x), given[0], loss_fn, given[1])

    def measure(self, task: Task) -> Tensor:
        """Returns the fitness of the members of this process, ``(n,)`` or ``(n, evaluations)``.

        Args:
            task: the result of ``step_task``.

        Raises:
            ValueError: the task gives another number of fitnesses.
        """
        fitness = fitness_table(self.run(task))
        if len(fitness) != len(self.own_members):
            raise ValueError(f"Expected {len(self.own_members)} fitness scores, got {len(fitness)}")
        return fitness

    def run(self, task: Task) -> Any:
        """Evaluates the members of this process.

        Args:
            task: the computation for each member.

        Returns:
            The results, each tensor ``(members, ...)``.
        """
        key = None if task.forward is None else random_key(self.seed, self.epoch, self._evaluations)
        self._evaluations += 1
        return self.evaluator.run(task._replace(key=key), self.perturbations, list(self.own_members))

    def evaluation(self) -> AbstractContextManager[None]:
        """Returns a context manager that notifies the other ranks if the evaluation inside it raises."""
        return self.ranks.evaluation(self.shares, self.epoch)

    def _advance(self, own: Tensor) -> float:
        """Goes from the fitness of this process's members to the next generation."""
        s = self.ranks.exchange(own, self.shares, self._state())
        self._verify = False
        f, counted = shape_fitness(s, self.settings().fitness, self.antithetic, self.group_size)
        norms = self._move(f, int(counted.sum()))
        numbers = round(sum(n.value.numel() * s * s for n, s in zip(self.parameters, self.sigma_shares, strict=True)))
        self.diagnostics = diagnose(
            s, counted, self.antithetic, norms, numbers,
            epoch=self.epoch, engine=self.evaluator.last, sigma=float(self.sigma), lr=self.lr,
        )  # fmt: skip
        self._history.add(self.diagnostics)
        if not bool(counted.any()):
            self.evaluator.warn("uncounted", _UNCOUNTED)
        elif not alike(s, counted):
            self._differed = True  # a run may well end where all members score the best there is
        elif self.sigma and self.evaluator.acts and not self._differed:
            self.evaluator.warn("alike", _ALIKE.format(sigma=self.sigma))
        if self.adapt_sigma:
            self.sigma = adapted(self.sigma, self.diagnostics.pair_signal, self.sigma_limit)
        self.epoch += 1
        self._told, self._evaluations = None, 0
        self._follow_schedule()
        message = regime_warning(self.diagnostics)
        if message is not None and not self.adapt_sigma:
            self.evaluator.warn("regime", message)
        for callback in self.callbacks:
            callback(self.diagnostics)
        return self.diagnostics.fitness_mean

    def _move(self, f: Tensor, number: int) -> dict[str, Tensor]:
        """Moves the weights by the shaped fitness of ``number`` members; nothing moves without any."""
        if not number:
            return {}
        weights = pair_weights(f, self.antithetic)
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            ascent = self.model_noise.ascent(self._draw(), weights, self.scale, number)
            return self.updater.apply(ascent, self.max_update_norm, self.weight_decay)

    def forward(self, inputs: Any, per_member: bool = False) -> Any:
        """Evaluates the members of this generation on ``inputs``; nothing is updated.

        Args:
            inputs: inputs of the model: a tensor, a tuple of arguments, or a dictionary of named ones.
            per_member: whether every tensor has one slice per member as its first dimension.

        Returns:
            The outputs of the model, each tensor ``(members, ...)``: of all members, or of those of this rank; an empty
            list on a rank without members.
        """
        self._check()
        return self.run(self.forward_task(inputs, per_member))

    def forward_task(self, inputs: Any, per_member: bool) -> Task:
        """Returns the task of computing the outputs of each member.

        Args:
            inputs, per_member: as in ``forward``.
        """
        data = self.member_data(inputs, per_member, "inputs")
        return output_task(lambda x: call_model(self.model, x), data)

    def member_data(self, tree: Any, per_member: bool, name: str) -> MemberData:
        """Returns data that the members share, or that has one slice for each.

        Args:
            tree: a tensor, or tensors in tuples, lists and dictionaries.
            per_member: whether each tensor has one slice per member as its first dimension.
            name: its name in error messages.
        """
        return MemberData(tree, self.own_members if per_member else None, self.pop_size, name)

    def ask(self) -> Population[MemberSpec]:
        """Opens the population of this generation; evaluate its members anywhere, in any order, then call ``tell``.

        Returns:
            A sequence of ``MemberSpec``, one for each member; where ranks share the population, for those of this rank.

        Example:
            >>> import torch
            >>> from torcheggroll import TorchEggrollES
            >>> es = TorchEggrollES(torch.nn.Linear(2, 1, bias=False), pop_size=4, seed=0)
            >>> specs = es.ask()
            >>> with es.member(specs[0]) as model:
            ...     fitness = float(model(torch.ones(2)))
            >>> es.tell({specs[0]: fitness, specs[1]: fitness - 1.0}) == fitness - 0.5
            True
            >>> es.diagnostics.dropped  # members 2 and 3 were never reported
            2
        """
        self._check()
        self._told = {}
        own = self.own_members
        return Population(len(own), lambda i: MemberSpec(self.seed, self.epoch, own[i]))

    def tell(self, fitnesses: Any, *, partial: bool = False) -> float | None:
        """Takes the fitness of the members, higher is better, and moves the weights.

        Args:
            fitnesses: one for each member from ``ask``, in order, ``(N,)`` or ``(N, evaluations)``; or a dictionary
                from a member's number or MemberSpec to one number or several. A missing, None, NaN or infinite fitness
                drops the pair; if a member is reported twice, the last value counts.
            partial: only store them; a later call completes the population.

        Returns:
            The mean fitness over the members of all ranks, or None when ``partial``.

        Raises:
            RuntimeError: no population is open, or a rank is lost or holds another state; the population stays open.
            ValueError: the number of fitnesses is not that of the members, or a member is of another generation,
                seed or rank.
        """
        if self._told is None:
            raise RuntimeError("Call prepare_population() first, or ask(): no population is open")
        own = self.own_members
        news = results_by_member(fitnesses, own, self.pop_size, self.ranks.rank, self.seed, self.epoch)
        told = {**self._told, **news}
        table = fitness_table([told.get(i) for i in own])
        if partial:
            self._told = told
            return None
        return self._advance(table)

    def generate(
        self,
        prompts: Any,
        max_new_tokens: int = 64,
        temperature: float = 0.7,
        top_p: float = 1.0,
        eos_token_id: int | Sequence[int] | None = None,
        seed: int | None = None,
        *,
        tokenizer: Any = None,
        pad_token_id: int | None = None,
        cache: str | None = None,
        centre: bool = False,
    ) -> Generated:
        """Lets every member of this generation continue the prompts; nothing is updated.

        The model is a causal language model of Transformers, or a module ``forward(tokens, cache) -> logits, cache``.

        Args:
            prompts: strings, for which ``tokenizer`` is needed, sequences of tokens, or a tensor ``(prompts, T)``.
            max_new_tokens: the largest length of a text, without its prompt.
            temperature: 0 takes the most likely token; otherwise tokens are sampled, with the same random numbers for
                every member, so that members differ only by their weights.
            top_p: nucleus sampling: sample from the smallest set of most likely tokens with at least this probability.
            eos_token_id: the token or tokens that end a text; None takes those of the model or the tokenizer, an empty
                sequence none.
            seed: seed of the sampling; None takes the number of the generation.
            tokenizer: a callable from a string to tokens, such as those of Transformers.
            pad_token_id: the token for padding; None takes that of the tokenizer or the model.
            cache: ``"dynamic"``, ``"static"`` or another cache of Transformers; None takes the model's.
            centre: let the unperturbed model generate instead, as if it were the only member; use it to evaluate.

        Returns:
            The tokens after the prompts, ``(members, prompts, T)``, padded beyond their ``lengths``.

        Raises:
            TypeError: the model cannot generate, or strings came without a tokenizer.
            ValueError: a prompt is empty or does not fit the model, or a setting lies outside its interval.

        Example:
            >>> import torch
            >>> from torcheggroll import TorchEggrollES
            >>> class Bigram(torch.nn.Embedding):
            ...     def forward(self, tokens, cache=None):
            ...         return super().forward(tokens), cache
            >>> es = TorchEggrollES(Bigram(10, 10), pop_size=4, seed=0)
            >>> es.generate([[1, 2], [3]], max_new_tokens=5, temperature=1.0).tokens.shape
            torch.Size([4, 2, 5])
        """
        self._check()
        members = None if centre else list(self.own_members)
        return self.texts.generate(
            prompts, self.perturbations, members, max_new_tokens=max_new_tokens,
            temperature=temperature, top_p=top_p, eos_token_id=eos_token_id, seed=self.epoch if seed is None else seed,
            tokenizer=tokenizer, pad_token_id=pad_token_id, cache=cache, audit_every=self.evaluator.audit_every,
        )  # fmt: skip

    def step_reward(
        self,
        prompts: Any,
        reward: Reward | RewardPool,
        *,
        batched: bool = False,
        max_new_tokens: int = 64,
        temperature: float = 0.7,
        top_p: float = 1.0,
        eos_token_id: int | Sequence[int] | None = None,
        seed: int | None = None,
        tokenizer: Any = None,
        pad_token_id: int | None = None,
        cache: str | None = None,
    ) -> float:
        """Lets every member continue the prompts, scores the texts, and moves the weights.

        The fitness of a member is the mean over its texts; with ``fitness="question"`` each prompt is centred
        separately. If a reward raises, takes too long or returns None, the pair of its member is dropped and counted.
        ``es.texts.report`` summarises the generation.

        Args:
            prompts: as in ``generate``.
            reward: ``(prompt, text) -> number``, higher is better; a text is a string if there is a tokenizer, else a
                list of tokens, without the token that ended it. A `RewardPool` calls it in threads or processes, with a
                timeout.
            batched: ``reward`` receives the prompts and all texts of one member and returns a number for each.
            max_new_tokens: as in ``generate``, and so are ``temperature``, ``top_p``, ``eos_token_id``, ``seed``,
                ``tokenizer``, ``pad_token_id`` and ``cache``.

        Returns:
            The mean fitness over the members of all ranks; dropped members do not count.

        Raises:
            TypeError: the model cannot generate, strings came without a tokenizer, or a reward is not a number; no
                weight has changed.
            ValueError: a prompt does not fit the model, a setting lies outside its interval, or a batched reward
                returns another number of scores than it got texts; no weight has changed.
            RuntimeError: a rank is lost, failed, or holds another state; no weight has changed.

        Example:
            >>> import torch
            >>> from torcheggroll import TorchEggrollES
            >>> class Bigram(torch.nn.Embedding):
            ...     def forward(self, tokens, cache=None):
            ...         return super().forward(tokens), cache
            >>> es = TorchEggrollES(Bigram(10, 10), pop_size=32, sigma=0.3, lr=2.0, seed=0, fitness="question")
            >>> def sevens(prompt, text):
            ...     return text.count(7) / len(text)
            >>> before = es.step_reward([[1], [2]], sevens, max_new_tokens=8)
            >>> for _ in range(30):
            ...     after = es.step_reward([[1], [2]], sevens, max_new_tokens=8)
            >>> after > before + 0.3
            True
        """
        return step_reward(
            self, prompts, reward, batched=batched, tokenizer=tokenizer, eos_token_id=eos_token_id, seed=seed,
            max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, pad_token_id=pad_token_id, cache=cache,
        )  # fmt: skip

    def remote_members(self, actors: int, **options: Any) -> RemoteMembers:
        """Starts Ray actors that evaluate the members; results equal those of ``step`` and ``step_reward``.

        Each actor starts with a copy of this optimizer and its model. After that, members are sent as specs and fitness
        as numbers, and every actor makes the same update as this process.

        Args:
            actors: number of actors; each evaluates whole pairs.
            options: options of a Ray actor, such as ``num_gpus=1``.

        Returns:
            A driver with ``step``, ``step_reward`` and ``close``; also a context manager.

        Raises:
            ImportError: Ray is not installed.
            RuntimeError: ranks share this population already.
        """
        return RemoteMembers(self, actors, options)

    @contextmanager
    def member(self, member: int | MemberSpec) -> Generator[nn.Module, None, None]:
        """Turns the model into one member inside the ``with``, then restores its weights to the bit.

        Args:
            member: an index of this generation, or a spec of any generation.

        Yields:
            The model.
        """
        with self.evaluator.member(self._perturbation(member)):
            yield self.model

    def held(self) -> AbstractContextManager[None]:
        """Returns a context manager inside which each perturbation is drawn once and kept, for many forward passes."""
        return self.model_noise.cached()

    def export_lora(self, member: int | MemberSpec) -> dict[str, Tensor]:
        """Returns a member as low-rank factors in PEFT's layout, for a LoRA scale of 1.

        Args:
            member: an index of this generation, or a spec of any generation.

        Returns:
            PEFT's names to tensors; parameters without factors, such as biases, are complete.
        """
        return lora_factors(self.model, self.parameters, self._perturbation(member))

    def adapters(
        self, path: str | Path, members: Sequence[int | MemberSpec] | None = None, *, base_model: str | None = None
    ) -> Iterator[tuple[MemberSpec, Path]]:
        """Writes members as LoRA adapters, each in a folder that PEFT loads.

        Args:
            path: parent of these folders, created if missing.
            members: indices of this generation or specs of any; None takes all members of this process.
            base_model: name or path of the base model for ``adapter_config.json``; None takes the model's own.

        Yields:
            A member and its folder.

        Raises:
            ValueError: a parameter does not belong to a module of the model.

        Example:
            >>> import tempfile, torch
            >>> from torcheggroll import TorchEggrollES
            >>> es = TorchEggrollES(torch.nn.Sequential(torch.nn.Linear(16, 8)), pop_size=4, rank=2, seed=0)
            >>> with tempfile.TemporaryDirectory() as path:
            ...     [(spec, folder)] = es.adapters(path, [3])
            ...     spec.member, (folder / "adapter_config.json").exists()
            (3, True)
        """
        return adapters(self, path, members, base_model)

    def prepare_population(self) -> Population[dict[str, Tensor]]:
        """Opens the population of this generation as dense parameters; a member is built when indexed.

        Returns:
            A sequence of dictionaries for ``torch.func.functional_call``, including buffers and other parameters.
        """
        specs = self.ask()
        return Population(len(specs), lambda i: {k: value[0] for k, value in self._dense([specs[i].member]).items()})

    def get_stacked_params(self) -> dict[str, Tensor]:
        """Returns the members of ``ask()`` as dense tensors ``(members, *shape)``, all of them in memory.

        Raises:
            RuntimeError: no population is open.
        """
        if self._told is None:
            raise RuntimeError("Call prepare_population() first")
        return self._dense(list(self.own_members))

    def apply_fitness_scores(self, fitnesses: Tensor | Sequence[float]) -> float:
        """Takes the fitness of the members of ``prepare_population()`` and moves the weights.

        Args:
            fitnesses: ``(members,)``, higher is better; a tensor or a list.

        Returns:
            The mean fitness.

        Raises:
            RuntimeError: no population is open.
            ValueError: the number of fitnesses is wrong.
        """
        mean = self.tell(fitnesses)
        assert mean is not None
        return mean

    def perturbations(self, members: list[int], spec: MemberSpec | None = None) -> list[Delta]:
        """Returns the perturbations of some members, one for each parameter.

        Args:
            members: indices in the population.
            spec: a member of another generation to draw from; None for this one.
        """
        return self.model_noise.deltas(self._draw(spec), members)

    def _perturbation(self, member: int | MemberSpec) -> list[Delta]:
        spec = MemberSpec(self.seed, self.epoch, member) if isinstance(member, int) else member
        if not isinstance(spec, MemberSpec):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"member must be an index or a MemberSpec, got {member!r}")
        if not 0 <= spec.member < self.pop_size:
            raise ValueError(f"member must be in [0, {self.pop_size}), got {spec.member}")
        return one_member(self.perturbations([spec.member], spec), 0)

    def _draw(self, spec: MemberSpec | None = None) -> Draw:
        seed, epoch, sigma = self.seed, self.epoch, self.sigma
        if spec is not None:
            seed, epoch = spec.seed, spec.epoch
            sigma = self.sigma if self.sigma_schedule is None else float(self.sigma_schedule(epoch))
        number = epoch // self.noise_reuse if self.noise_reuse else 0
        shapes = self.small_matrices == "dense", self.stacked_matrices == "separate"
        return Draw(seed, number, sigma, self.rank, self.noise, self.antithetic, self.sigma_shares, *shapes)

    def _dense(self, members: list[int]) -> dict[str, Tensor]:
        return dense_members(self.model, self.parameters, self.perturbations(members))

    def _follow_schedule(self) -> None:
        if self.sigma_schedule is not None:
            self.sigma = float(self.sigma_schedule(self.epoch))

    def settings(self) -> Settings:
        """Returns the current hyper-parameters."""
        values = {**vars(self.evaluator), **vars(self)}
        chosen = Settings(**{name: values[name] for name in Settings._fields})
        default = "zscore" if self.normalize_fitness else "centered"
        return chosen._replace(fitness=default if self.fitness is None else self.fitness)

    def _check(self) -> None:
        check_settings(self.settings())

    def _state(self) -> SharedState:
        """Returns the state that all ranks must share."""
        chosen = {**self.settings()._asdict(), "checksum_every": self.checksum_every}
        due = self._verify or bool(self.checksum_every and self.epoch % self.checksum_every == 0)
        weights = [p.value for p in self.parameters]
        return SharedState(self.epoch, self.seed, chosen, self.optimizer, weights, due)

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that a run needs to continue to the bit, as plain values and tensors."""
        state: dict[str, Any] = {
            "epoch": self.epoch,
            "base_params": {p.name: p.value.detach().to("cpu", copy=True) for p in self.parameters},
            "param_names": list(self.param_names),
            "param_shapes": [list(shape) for shape in self.param_shapes],
            "lr": self.lr,
            **{name: getattr(self, name) for name in SAVED},
            **self.updater.state_dict(),
        }
        if callable(state["fitness"]):
            del state["fitness"]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores weights, settings, optimizer and noise from a checkpoint.

        Args:
            state: the result of ``state_dict``, of release 0.2.0 or later.

        Raises:
            KeyError: an entry is missing.
            ValueError: the checkpoint is of other parameters; nothing has been written.
        """
        epoch, weights = state["epoch"], state["base_params"]
        check_same_parameters({p.name: p.value for p in self.parameters}, weights)
        check("lr", state.get("lr", 0.0), "[0, inf)")
        older = {"small_matrices": "factored", "stacked_matrices": "flattened"}  # before they were saved
        shares = (1.0,) * len(self.parameters)
        self._take({"sigma_shares": shares, **older, **{name: state[name] for name in SAVED if name in state}})
        with torch.no_grad():
            for p in self.parameters:
                p.value.copy_(weights[p.name])
        if "optimizer" in state:
            self.updater.load_state_dict(state)
        elif "lr" in state:
            self.lr = state["lr"]
        self.epoch, self._told, self._verify, self._evaluations = epoch, None, True, 0

    def _take(self, settings: dict[str, Any]) -> None:
        """Takes settings over, all of them or none."""
        before = {name: getattr(self, name) for name in settings}
        try:
            vars(self).update(settings)
            self._check()
        except Exception:
            vars(self).update(before)
            raise

    def __repr__(self) -> str:
        """Shows every setting."""
        chosen = {**self.settings()._asdict(), "lr": self.lr, "seed": self.seed, "optimizer": self.optimizer}
        return f"TorchEggrollES({', '.join(f'{name}={value!r}' for name, value in chosen.items())})"

    def _repr_html_(self) -> str:
        """Returns what a notebook shows: the numbers of the last generation, and fitness over generations."""
        seen = self.diagnostics
        values: dict[str, object] = {"generation": self.epoch, "members": self.pop_size, "sigma": float(self.sigma)}
        values |= {"lr": self.lr}
        if seen is not None:
            values |= {"fitness, mean": seen.fitness_mean, "fitness, best": seen.fitness_max, "engine": seen.engine}
        return self._history.as_html(f"{type(self).__name__} on {type(self.model).__name__}", values)
