"""Evolution strategies on integer weights: integer noise, signs of pairs, steps of one."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from .._checks import check, check_integer
from .._evaluate.tree import map_tensors
from ..fitness import fitness_table
from ..noise.layout import Shape, perturbed_shape
from ._factors import LARGEST, IntegerNoise
from ._update import move, pair_signs, share, threshold, votes
from .layers import IntegerLayer

_BLOCK = 1 << 20  # random numbers at a time
_SETTINGS = ("pop_size", "rank", "sigma_shift", "alpha", "alpha_decay", "noise", "noise_reuse", "seed")

_INTERVALS = {
    "pop_size": "[2, inf)",
    "rank": "[1, inf)",
    "sigma_shift": "[0, 8]",
    "noise_reuse": "[0, inf)",
    "seed": "(-inf, inf)",
    "chunk_size": "[2, inf)",
}


class IntegerParameter(NamedTuple):
    """One evolved parameter."""

    name: str
    layer: IntegerLayer
    leaf: str  # its name in the layer
    value: nn.Parameter
    shape: Shape


class IntegerEggroll:
    """Evolves the integer layers of a model, in integer arithmetic.

    Members 2k and 2k + 1 add 2⁻ˢ A Bᵀ to each matrix, with opposite signs. Each pair votes for its better half, and a
    weight moves by one where the votes pass a threshold. Results are equal to the bit on every device and for any
    ``chunk_size``.

    Args:
        model: a model with ``IntegerLinear``, ``IntegerEmbedding`` and ``IntegerMinGRU`` layers.
        pop_size: members per step; even.
        rank: r, the rank of the noise of a matrix.
        sigma_shift: s; 0 perturbs by whole weight units, each further one halves the noise.
        alpha: α, the share of weights that would move per step if fitness were noise.
        alpha_decay: after t steps, α is divided by 1 + t · ``alpha_decay``.
        noise: ``"rademacher"``, or ``"gaussian"``, rounded.
        noise_reuse: generations that share their noise; 0 for all.
        seed: seed of all noise; None takes ``torch.initial_seed()``.
        chunk_size: members evaluated at once; even; the result does not depend on it.

    Raises:
        ValueError: a hyper-parameter lies outside its interval, or the model has no integer layer.
        TypeError: a hyper-parameter is of the wrong type.

    Source: Sarkar et al. 2025 (EGGROLL), appendix H, https://arxiv.org/abs/2511.16652

    Example:
        >>> import torch
        >>> from torcheggroll.integer import IntegerEggroll, IntegerLinear, code_length
        >>> es = IntegerEggroll(IntegerLinear(8, 4), pop_size=16, seed=0)
        >>> x, y = torch.ones(5, 8, dtype=torch.int8), torch.zeros(5, dtype=torch.int64)
        >>> es.step(x, code_length, y) < 0
        True
    """

    model: nn.Module
    parameters: list[IntegerParameter]
    pop_size: int
    rank: int
    sigma_shift: int
    alpha: float
    alpha_decay: float
    noise: str
    noise_reuse: int
    chunk_size: int
    seed: int
    epoch: int
    moved: int  # weights that the last step moved

    def __init__(
        self,
        model: nn.Module,
        pop_size: int = 1024,
        *,
        rank: int = 1,
        sigma_shift: int = 0,
        alpha: float = 0.5,
        alpha_decay: float = 0.01,
        noise: str = "rademacher",
        noise_reuse: int = 1,
        seed: int | None = None,
        chunk_size: int = 64,
    ) -> None:
        self.model = model
        self.pop_size, self.rank, self.sigma_shift = pop_size, rank, sigma_shift
        self.alpha, self.alpha_decay = alpha, alpha_decay
        self.noise, self.noise_reuse, self.chunk_size = noise, noise_reuse, chunk_size
        self.seed = torch.initial_seed() if seed is None else seed
        self.epoch = 0
        self.moved = 0
        self._check()
        self.parameters = list(_integer_parameters(model, rank))
        if not self.parameters:
            raise ValueError("model must have integer layers, of torcheggroll.integer, got none")

    def _check(self) -> None:
        for name, interval in _INTERVALS.items():
            check_integer(name, getattr(self, name), interval)
        for name in ("pop_size", "chunk_size"):
            if getattr(self, name) % 2:
                raise ValueError(f"{name} must be even, since members come in pairs, got {getattr(self, name)}")
        check("alpha", self.alpha, "(0, 1]")
        check("alpha_decay", self.alpha_decay, "[0, inf)")
        if self.noise not in LARGEST:
            raise ValueError(f"noise must be one of {', '.join(LARGEST)}, got {self.noise!r}")

    @contextmanager
    def members(self, first: int, last: int) -> Generator[nn.Module, None, None]:
        """Turns the model into members ``first`` to ``last - 1`` of this generation, in one batch.

        Args:
            first: even.
            last: even.
        """
        if not (0 <= first < last <= self.pop_size) or first % 2 or last % 2:
            raise ValueError(f"members must be whole pairs within [0, {self.pop_size}), got {first} to {last - 1}")
        pairs = torch.arange(first // 2, last // 2, device=self.parameters[0].value.device)
        drawn = self._noise().draw(self._draw(), range(len(self.parameters)), [p.shape for p in self.parameters], pairs)
        layers = {p.layer for p in self.parameters}
        modes = [(module, module.training) for module in self.model.modules()]
        try:
            self.model.eval()
            for layer in layers:
                layer.noise, layer.sigma_shift = {}, self.sigma_shift
            for p, own in zip(self.parameters, drawn, strict=True):
                assert p.layer.noise is not None
                p.layer.noise[p.leaf] = own.mirrored()
            with torch.no_grad():
                yield self.model
        finally:
            for layer in layers:
                layer.noise, layer.sigma_shift = None, 0
            for module, training in modes:
                module.training = training

    def step(
        self, inputs: Any, loss_fn: Callable[[Any, Any], Tensor], targets: Any, *, per_pair: bool = False
    ) -> float:
        """Evaluates the population and moves the weights.

        Args:
            inputs: of the model; the model gets them with the members in front.
            loss_fn: ``(outputs, targets) -> (M, ...)`` integers, lower is better, summed over all but the members.
            targets: handed to ``loss_fn`` with the members in front.
            per_pair: True where ``inputs`` and ``targets`` have one slice per pair in front; otherwise all share them.

        Returns:
            The mean fitness: the sum of the losses over the number of summands, negated.
        """
        sums: list[Tensor] = []
        summands = 1
        for first, last in self._chunks():
            own_inputs, own_targets = (self._own(tree, first, last, per_pair) for tree in (inputs, targets))
            with self.members(first, last) as model:
                loss = loss_fn(model(own_inputs), own_targets)
            sums.append(loss.flatten(1).sum(1, dtype=torch.int64))
            summands = loss[0].numel()
        total = torch.cat(sums)
        self.tell(-total)
        return -float(total.sum()) / (summands * self.pop_size)

    def _chunks(self) -> Iterator[tuple[int, int]]:
        for first in range(0, self.pop_size, self.chunk_size):
            yield first, min(first + self.chunk_size, self.pop_size)

    def _own(self, tree: Any, first: int, last: int, per_pair: bool) -> Any:
        def own(value: Tensor) -> Tensor:
            if per_pair and len(value) != self.pop_size // 2:
                raise ValueError(f"data per pair must have {self.pop_size // 2} pairs in front, got {len(value)}")
            if per_pair:
                return value[first // 2 : last // 2].repeat_interleave(2, 0)
            return value.unsqueeze(0).expand(last - first, *value.shape)

        return map_tensors(own, tree)

    def tell(self, fitness: Tensor | Sequence[float]) -> None:
        """Moves the weights by the fitness of every member, higher is better; NaN and infinity silence a pair.

        Args:
            fitness: ``(pop_size,)``.

        Raises:
            ValueError: the number of fitnesses is not that of the members.
        """
        table = fitness if isinstance(fitness, Tensor) else fitness_table(fitness)
        if table.shape != (self.pop_size,):
            raise ValueError(
                f"fitness must hold one number for each of {self.pop_size} members, got {tuple(table.shape)}"
            )
        self._check()
        signs = pair_signs(table).to(self.parameters[0].value.device)
        counted = signs.nonzero().squeeze(1)
        alpha = share(self.alpha, self.alpha_decay, self.epoch)
        moved = 0
        for j, p in enumerate(self.parameters):
            before = p.value.clone()
            tau = threshold(alpha, self._noise().variance(p.shape), len(counted))
            move(p.value.data, self._votes(j, p, counted, signs[counted]), tau, p.layer.largest)
            moved += int((p.value != before).sum())
        self.moved = moved
        self.epoch += 1

    def _votes(self, j: int, p: IntegerParameter, pairs: Tensor, signs: Tensor) -> Tensor:
        total = torch.zeros(p.shape.size, dtype=torch.int32, device=p.value.device)
        block = max(_BLOCK // p.shape.numbers, 1)
        for first in range(0, len(pairs), block):
            at = slice(first, first + block)
            (drawn,) = self._noise().draw(self._draw(), [j], [p.shape], pairs[at])
            total += votes(signs[at], drawn)
        return total

    def _noise(self) -> IntegerNoise:
        return IntegerNoise(self.seed, self.noise)

    def _draw(self) -> int:
        return self.epoch // self.noise_reuse if self.noise_reuse else 0

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that a run needs to continue to the bit."""
        weights = {p.name: p.value.detach().to("cpu", copy=True) for p in self.parameters}
        return {"epoch": self.epoch, "weights": weights, **{name: getattr(self, name) for name in _SETTINGS}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over weights, settings and epoch of a checkpoint.

        Raises:
            KeyError: something is missing.
            ValueError: the checkpoint is of other parameters.
        """
        weights = state["weights"]
        own = {p.name: tuple(p.value.shape) for p in self.parameters}
        if own != {name: tuple(value.shape) for name, value in weights.items()}:
            raise ValueError("the checkpoint must hold this model's integer parameters, by name and shape")
        for name in _SETTINGS:
            setattr(self, name, state[name])
        self.epoch = state["epoch"]
        self.parameters = list(_integer_parameters(self.model, self.rank))
        for p in self.parameters:
            p.value.data.copy_(weights[p.name])


def _integer_parameters(model: nn.Module, rank: int) -> Iterator[IntegerParameter]:
    named = cast("Iterator[tuple[str, nn.Module]]", model.named_modules())
    for path, module in named:
        if isinstance(module, IntegerLayer):
            for leaf, value in module.named_parameters(recurse=False):
                name = f"{path}.{leaf}" if path else leaf
                yield IntegerParameter(name, module, leaf, value, perturbed_shape(tuple(value.shape), rank))
