"""Tensors that are stepped together by one path, with their σ and ξ, and the plan that sorts a group into such."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor

from thermolion._equations import COLD, Coefficients, carry_noise_scale, read_number, sum_of_squares
from thermolion._noise import MASK, draw, draw_at, keys_of, mix, rounding_at, rounding_bits
from thermolion._sharding import add_shards, elements_of, is_sharded, local
from thermolion._state import State, advance_tensors

BLOCK = 1 << 18  # elements of a gradient that are squared at once
ROUNDING = 0x6A09E667F3BCC909  # sets the bits of rounding apart from those of noise


@dataclass
class Batch:
    """Tensors of one group, device and dtypes that are all warm or all cold; the lists run in parallel.

    ``thetas``, ``grads``, ``ms``, ``vs`` are real, local views that share memory with parameters, gradients, state.
    """

    group: dict[str, Any]
    warm: bool
    params: list[Tensor] = field(default_factory=list[Tensor])
    thetas: list[Tensor] = field(default_factory=list[Tensor])
    grads: list[Tensor] = field(default_factory=list[Tensor])
    ms: list[Tensor] = field(default_factory=list[Tensor])
    vs: list[Tensor] = field(default_factory=list[Tensor])
    v_means: list[Tensor] = field(default_factory=list[Tensor])
    steps: list[Any] = field(default_factory=list[Any])  # int, or a tensor where capturable
    temperatures: list[Any] = field(default_factory=list[Any])  # float, or a tensor where capturable
    indices: list[int] = field(default_factory=list[int])  # of the parameter among all of the optimizer
    sharded: bool = False
    views: bool = False  # of sharded or complex tensors, good for one step
    memory: dict[str, Any] = field(default_factory=dict[str, Any])  # of a path, from step to step
    _keys: dict[int, Tensor] = field(default_factory=dict[int, Tensor])

    def add(
        self, param: Tensor, grad: Tensor, moments: Sequence[Tensor], step: Any, temperature: Any, index: int
    ) -> None:
        """Takes in a parameter: its gradient; m, v and v̄; its count of steps, its temperature and its index."""
        m, v, v_mean = moments
        tensors = [param, grad, m, v]
        if type(param) is not torch.nn.Parameter and is_sharded(param):
            tensors = [local(tensor) for tensor in tensors]
            self.sharded = self.views = True
        if param.is_complex():
            tensors = [torch.view_as_real(tensor) for tensor in tensors]
            self.views = True
        for tensor, to in zip(tensors, (self.thetas, self.grads, self.ms, self.vs), strict=True):
            to.append(tensor)
        self.params.append(param)
        self.v_means.append(v_mean)
        self.steps.append(step)
        self.temperatures.append(temperature)
        self.indices.append(index)

    def renew(self, grads: list[Tensor], steps: list[Any], temperatures: list[Any]) -> None:
        """Takes the gradients, counts and temperatures of the next step."""
        self.grads, self.steps, self.temperatures = grads, steps, temperatures
        self._keys.clear()

    def release(self) -> None:
        """Lets go of the gradients."""
        self.renew([], [], [])

    def advance(self) -> None:
        """Counts a step and cools, where both are tensors on the device."""
        advance_tensors(self.steps, self.temperatures, self.group["temp_decay"])

    def part(self, positions: list[int]) -> "Batch":
        """Returns the tensors at these positions as a batch."""
        names = ("params", "thetas", "grads", "ms", "vs", "v_means", "steps", "temperatures", "indices")
        lists: dict[str, Any] = {name: [getattr(self, name)[i] for i in positions] for name in names}
        return replace(self, **lists, memory={}, _keys={})

    @contextmanager
    def rows(self) -> Generator[list[tuple[Tensor, ...]]]:
        """Yields θ, g, m, v and v̄ of every tensor with memory in logical order, g in θ's dtype.

        What lies otherwise is copied, and θ, m and v are copied back afterwards.
        """
        if self._in_order:
            yield list(zip(self.thetas, self.grads, self.ms, self.vs, self.v_means, strict=True))
            return
        rows: list[tuple[Tensor, ...]] = []
        copies: list[tuple[Tensor, Tensor]] = []
        for theta, g, m, v, v_mean in zip(self.thetas, self.grads, self.ms, self.vs, self.v_means, strict=True):
            stepped: tuple[Tensor, ...] = (theta, m, v)
            if not (theta.is_contiguous() and m.is_contiguous() and v.is_contiguous()):
                stepped = tuple(tensor.clone(memory_format=torch.contiguous_format) for tensor in stepped)
                copies.extend(zip((theta, m, v), stepped, strict=True))
            if g.dtype != theta.dtype or not g.is_contiguous() or g.is_neg():
                g = g.to(theta.dtype).resolve_neg().contiguous()
            rows.append((stepped[0], g, *stepped[1:], v_mean))
        yield rows
        for tensor, stepped_copy in copies:
            tensor.copy_(stepped_copy)

    @property
    def _in_order(self) -> bool:
        """Tells whether `rows` needs no copy, as is usual."""
        columns, dtype = (self.thetas, self.grads, self.ms, self.vs), self.thetas[0].dtype
        in_order = [tensor.is_contiguous() for column in columns for tensor in column]
        as_they_are = [g.dtype is dtype and not g.is_neg() for g in self.grads]
        return False not in in_order and False not in as_they_are

    @property
    def device(self) -> torch.device:
        """The device of every tensor."""
        return self.thetas[0].device

    @property
    def coefficients(self) -> Coefficients:
        """The group's coefficients, read anew at every step.

        A tensor ``lr`` has no dimension and lies on the batch's device; one in the host's memory is a number elsewhere.
        """
        group = self.group
        lr: float | Tensor = group["lr"]
        if isinstance(lr, Tensor):
            lr = lr.squeeze() if lr.dim() else lr
            lr = read_number(lr) if lr.device.type == "cpu" and self.device.type != "cpu" else lr
        beta1, beta2 = group["betas"]
        return Coefficients(lr, beta1, beta2, group["weight_decay"], group["eps"])

    @property
    def capturable(self) -> bool:
        """Tells whether step and temperature are tensors on the device."""
        return bool(self.group["capturable"])

    @property
    def compute_dtype(self) -> torch.dtype:
        """Float64 for float64 parameters, float32 for all others."""
        return torch.float64 if self.thetas[0].dtype == torch.float64 else torch.float32

    @property
    def in_place(self) -> bool:
        """Tells whether parameters, gradients and moments have the compute dtype, so that nothing needs a cast."""
        dtype = self.thetas[0].dtype
        return dtype == self.compute_dtype and self.ms[0].dtype == dtype and all(g.dtype == dtype for g in self.grads)

    def empty(self, count: int) -> Tensor:
        """Returns so many numbers of the compute dtype on the device, whatever they are."""
        return torch.empty(count, dtype=self.compute_dtype, device=self.device)

    @property
    def from_global_stream(self) -> bool:
        """Tells whether ξ comes from torch's global stream, which is drawn tensor by tensor."""
        return self.warm and self.group["noise"] == "global"

    @cached_property
    def numels(self) -> list[int]:
        """The number of real elements of each whole tensor, at least 1."""
        if not self.sharded:
            return [theta.numel() or 1 for theta in self.thetas]
        return [(p.numel() * (2 if p.is_complex() else 1)) or 1 for p in self.params]

    def noise_scales(self, block: int = BLOCK, *, rounded_once: bool = False) -> Tensor:
        """Carries v̄ of every tensor to this step and returns σ of each; to be called once in a warm step.

        Args:
            block: elements of a gradient that are squared at once.
            rounded_once: as in `carry_noise_scale`.
        """
        sums = torch.stack(list(add_shards([sum_of_squares(g, block) for g in self.grads], self.params)))
        means = sums / torch.tensor(self.numels, device=sums.device)
        return self.carried(means, rounded_once=rounded_once)

    def carried(self, mean_squares: Tensor, *, rounded_once: bool = False) -> Tensor:
        """Carries v̄ of every tensor by the mean of g², shape ``(n,)``, and returns σ of each."""
        if self.capturable:
            temperatures = torch.stack(self.temperatures)
        else:
            temperatures = torch.tensor(self.temperatures, dtype=mean_squares.dtype, device=mean_squares.device)
        beta2 = self.coefficients.beta2
        sigmas = carry_noise_scale(self.v_means, mean_squares, temperatures, beta2, rounded_once=rounded_once)
        return torch.where(temperatures > COLD, sigmas, 0.0) if self.capturable else sigmas

    def keys(self, seed: int) -> Tensor:
        """Returns the four keys of every tensor at this step, int32 of shape ``(n, 4)``."""
        if seed not in self._keys:
            self._keys[seed] = self.keys_where_counted(seed).to(self.device, non_blocking=True)
        return self._keys[seed]

    def keys_where_counted(self, seed: int) -> Tensor:
        """Returns `keys` where the steps are counted: on the device if capturable, else in the host's memory."""
        if self.capturable:
            steps = torch.stack(self.steps).to(torch.int64)
            return keys_of(seed, steps, _indices_on(self.device, tuple(self.indices)))
        return keys_of(seed, torch.tensor(self.steps), torch.tensor(self.indices))

    @property
    def noise_keys(self) -> Tensor:
        """The keys of noise, ``(n, 4)``."""
        return self.keys(self.group["seed"])

    @property
    def rounding_seed(self) -> int:
        """The seed of stochastic rounding."""
        return mix(self.group["seed"] ^ ROUNDING) & MASK

    @property
    def rounding_keys(self) -> Tensor:
        """The keys of stochastic rounding, ``(n, 4)``."""
        return self.keys(self.rounding_seed)

    def noise(self, i: int, like: Tensor, start: int = 0) -> Tensor:
        """Returns ξ of a block of tensor ``i``.

        Args:
            i: position of the tensor in the lists.
            like: the tensor or a block of it, in the dtype to compute in.
            start: the logical number of the block's first element.
        """
        if self.group["noise"] == "global":
            return torch.randn_like(self.thetas[i]).to(like.dtype)
        keys, elements = self.noise_keys[i].unbind(), self._elements(i)
        xi = draw(start, like.numel(), keys) if elements is None else draw_at(elements, keys)
        return xi.view(like.shape).to(like.dtype)

    def rounding_bits(self, i: int, like: Tensor, start: int = 0) -> Tensor | None:
        """Returns 16 random bits for every element if the group rounds stochastically; arguments as in `noise`."""
        if not self.group["stochastic_rounding"]:
            return None
        keys, elements = self.rounding_keys[i].unbind(), self._elements(i)
        bits = rounding_bits(start, like.numel(), keys) if elements is None else rounding_at(elements, keys)
        return bits.view(like.shape)

    def _elements(self, i: int) -> Tensor | None:
        """Returns the logical numbers of a shard's elements, or None for a whole tensor."""
        param = self.params[i]
        return elements_of(param) if self.sharded and is_sharded(param) else None


@lru_cache(maxsize=16)
def _indices_on(device: torch.device, indices: tuple[int, ...]) -> Tensor:
    """Returns the parameters' indices on the device, cached because a CUDA graph may not send anything."""
    return torch.tensor(indices, device=device)


class Plan:
    """How parameters of a group are sorted into batches; it holds as long as the same tensors are stepped."""

    def __init__(
        self, group: dict[str, Any], params: list[Tensor], states: list[State], indices: list[int], warm: list[bool]
    ) -> None:
        """Sorts parameters by what can be stepped together; the lists run in parallel.

        Args:
            group: the group of all of them.
            params: the parameters that have a gradient.
            states: the state of each.
            indices: of each among all parameters of the optimizer.
            warm: whether noise is added to each.
        """
        self.group, self._noise, self._indices, self._warm = group, group["noise"], indices, warm
        self._tensors = [
            (param, param.dtype, param.device, state["m"], state["v"], state["v_mean"])
            for param, state in zip(params, states, strict=True)
        ]
        members: dict[Any, list[int]] = {}
        for i, (_, dtype, device, m, *_) in enumerate(self._tensors):
            in_turn = i if warm[i] and self._noise == "global" else None  # the stream is read in order
            members.setdefault((dtype, device, m.dtype, warm[i], in_turn), []).append(i)
        self._members = list(members.values())
        self._batches: list[Batch] = []
        self._memories: list[dict[str, Any]] = [{} for _ in members]

    def fits(self, params: list[Tensor], states: list[State], indices: list[int], warm: list[bool]) -> bool:
        """Says whether the plan is one for these; arguments as above."""
        if (indices, warm, self.group["noise"]) != (self._indices, self._warm, self._noise):
            return False
        return all(
            param is p and p.dtype is dtype and p.device == device
            and state["m"] is m and state["v"] is v and state["v_mean"] is v_mean
            for param, state, (p, dtype, device, m, v, v_mean) in zip(params, states, self._tensors, strict=True)
        )  # fmt: skip

    def batches(self, grads: list[Tensor], steps: list[Any], temperatures: list[Any]) -> list[Batch]:
        """Returns the batches of this step; the lists run in parallel with the parameters."""
        lasting = self._batches and not any(batch.views for batch in self._batches)
        if not lasting:
            kinds = zip(self._members, self._memories, strict=True)
            self._batches = [Batch(self.group, self._warm[members[0]], memory=kept) for members, kept in kinds]
        for batch, members in zip(self._batches, self._members, strict=True):
            if lasting:
                batch.renew(*([values[i] for i in members] for values in (grads, steps, temperatures)))
                continue
            for i in members:
                param, _, _, *moments = self._tensors[i]
                batch.add(param, grads[i], moments, steps[i], temperatures[i], self._indices[i])
        return self._batches
