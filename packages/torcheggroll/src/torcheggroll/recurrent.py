"""Persistent evolution: each member keeps one perturbation and its state over all windows of a sequence.

    sᵢ = s₀ where a sequence begins                                  (1)
    yᵢ, sᵢ ← f(x, sᵢ; θ + σEᵢ)                                       (2)  over one window, with the member's own state
    fᵢ = -loss(yᵢ)                                                   (3)  of this window
    g = (1/(σN)) Σᵢ fᵢ Eᵢ                                            (4)  one estimate and one update per window
    Σ_w g_w = (1/(σN)) Σᵢ Eᵢ Σ_w fᵢ,w                                (5)  of the whole sequence, while θ rests

Eᵢ stays for the sequence, so (5) is the estimate of one long evaluation and sees how early weights act on late losses.
Drawn anew in each window, the state would owe to perturbations that (4) has forgotten: biased, unless each window is
weighted by the sum of all perturbations so far, whose variance grows with their number (Vicol et al. 2021). That sum
is for perturbations that differ: of one that stays it would count window w w times.

Source: Vicol et al. 2021 (persistent evolution strategies), https://arxiv.org/abs/2112.13835; Li et al. 2023 (noise
reuse), https://arxiv.org/abs/2304.12180; Sarkar et al. 2025 (EGGROLL), https://arxiv.org/abs/2511.16652
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ._checks import check_integer
from ._evaluate.task import MemberData, Task, code_of, refill, sliced_parts
from ._evaluate.tree import map_tensors, tensors_of
from .es import TorchEggrollES


class PersistentES:
    """Evolves a recurrent model through the windows of long sequences, with an update after each.

    A sequence has ``es.noise_reuse`` windows: a member keeps its perturbation and its state for all of them. The next
    sequence starts with new perturbations and the initial state.

    Args:
        es: the optimizer of a model ``(inputs, state) -> (outputs, state)``.
        initial_state: state of one member: a tensor, or tensors in tuples, lists and dictionaries.
        windows: number of windows in a sequence; None takes ``es.noise_reuse``, 0 never restarts. If a sequence is
            longer than ``noise_reuse``, perturbations change within it: that is truncated evolution, and biased.

    Raises:
        ValueError: ``windows`` is negative, or the state holds no tensor.

    Source: Vicol et al. 2021, https://arxiv.org/abs/2112.13835; Li et al. 2023, https://arxiv.org/abs/2304.12180

    Example:
        >>> import torch
        >>> from torcheggroll import TorchEggrollES
        >>> from torcheggroll.recurrent import PersistentES
        >>> es = TorchEggrollES(torch.nn.GRU(2, 3), pop_size=4, seed=0, noise_reuse=5, engine="loop")
        >>> persistent = PersistentES(es, torch.zeros(1, 1, 3))
        >>> loss = lambda outputs, targets: (outputs - targets).square().mean()
        >>> persistent.step(torch.ones(7, 1, 2), loss, torch.zeros(7, 1, 3)) < 0
        True
        >>> persistent.state.shape
        torch.Size([4, 1, 1, 3])
    """

    def __init__(self, es: TorchEggrollES, initial_state: Any, windows: int | None = None) -> None:
        if windows is not None:
            check_integer("windows", windows, "[0, inf)")
        self.es: TorchEggrollES = es
        self.windows: int | None = windows
        self._initial = map_tensors(lambda t: t.detach().to(es.device, copy=True), initial_state)
        if not tensors_of(self._initial):
            raise ValueError(f"initial_state must hold at least one tensor, got {initial_state!r}")
        self._states = begin(tensors_of(self._initial), len(es.own_members))

    @property
    def state(self) -> Any:
        """The states of this process's members, in the structure of one state, each tensor ``(members, ...)``."""
        return refill(self._initial, [s.clone() for s in self._states])

    def step(
        self,
        inputs: Any,
        loss_fn: Callable[[Any, Any], Any],
        targets: Any = None,
        *,
        per_member: bool | str = False,
    ) -> float:
        """Evaluates every member on one window and moves the weights.

        Args:
            inputs: inputs of the window, the first argument of the model.
            loss_fn: ``(outputs, targets) -> loss`` of one member, lower is better.
            targets: passed to ``loss_fn``.
            per_member: True if ``inputs`` and ``targets`` have one slice per member as their first dimension;
                ``"inputs"`` or ``"targets"`` if only those have. Ranks pass the slices of ``es.own_members``.

        Returns:
            The mean fitness of the window over the members of all ranks.

        Raises:
            RuntimeError: a rank is lost, or failed; nothing has been written.
        """
        es, sliced = self.es, sliced_parts(per_member)
        if begins(es.epoch, es.noise_reuse if self.windows is None else self.windows):
            self.reset()
        given = es.member_data(inputs, sliced[0], "inputs"), es.member_data(targets, sliced[1], "targets")
        task = window_task(es.model, self._initial, self._states, given[0], loss_fn, given[1])
        es.ask()
        with es.evaluation():
            fitness, after = es.run(task) or (torch.zeros(0), self._states)
        mean = es.tell(fitness)
        self._states = [s.detach().clone() for s in tensors_of(after)]
        assert mean is not None
        return mean

    def reset(self, members: list[int] | None = None) -> None:
        """Resets members to the initial state; their perturbations stay.

        Args:
            members: indices in the population, of which those of other ranks are ignored; None for all.
        """
        own = self.es.own_members
        fresh = begin(tensors_of(self._initial), len(own))
        if members is None:
            self._states = fresh
            return
        at = torch.tensor([own.index(i) for i in members if i in own], dtype=torch.int64, device=self.es.device)
        for state, new in zip(self._states, fresh, strict=True):
            state[at] = new[at]

    def state_dict(self) -> dict[str, Any]:
        """Returns the states of all members, which ``es.state_dict()`` does not hold.

        Where ranks share the population, every rank must call it, because each holds the states of its own members. The
        result equals that of one process and can be loaded on any number of ranks.
        """
        return {"states": [everyone(s, self.es) for s in self._states], "windows": self.windows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a checkpoint; together with that of ``es`` the run continues to the bit.

        Args:
            state: the result of ``state_dict``.

        Raises:
            KeyError: an entry is missing.
            ValueError: the states are of another population or model.
        """
        es, saved = self.es, [torch.as_tensor(s) for s in state["states"]]
        wanted = [(es.pop_size, *s.shape[1:]) for s in self._states]
        given = [tuple(s.shape) for s in saved]
        if wanted != given:
            raise ValueError(f"the checkpoint must hold states of shapes {wanted}, members in front, got {given}")
        own = slice(es.own_members.start, es.own_members.stop)
        pairs = zip(saved, self._states, strict=True)
        self._states = [s[own].to(es.device, old.dtype, copy=True) for s, old in pairs]
        self.windows = state["windows"]


def everyone(own: Tensor, es: TorchEggrollES) -> Tensor:
    """Returns ``(members, ...)`` of all ranks, on the CPU; without ranks, a copy."""
    wide = torch.float64 if own.is_floating_point() else torch.int64  # holds every number of a narrower kind
    row = own.to("cpu", wide, copy=True)
    return es.ranks.gather_rows(row, es.shares, es.epoch).to(own.dtype)


def begin(initial: list[Tensor], members: int) -> list[Tensor]:
    """Returns the initial state for every member: each tensor ``(members, ...)``."""
    return [s.unsqueeze(0).expand(members, *s.shape).clone() for s in initial]  # (1)


def begins(epoch: int, windows: int) -> bool:
    """Returns whether a sequence of ``windows`` windows begins at generation ``epoch``; with 0 it never ends."""
    return epoch == 0 if windows == 0 else epoch % windows == 0


def window_task(
    call: Callable[[Any, Any], Any],
    structure: Any,
    states: list[Tensor],
    inputs: MemberData,
    loss_fn: Callable[[Any, Any], Any],
    targets: MemberData,
) -> Task:
    """Returns the task of computing, for each member, its fitness over one window and the state after it.

    Args:
        call: the model, ``(inputs, state) -> (outputs, state)``.
        structure: a state of one member; the tensors in it are replaced.
        states: the tensors of the members' states, ``(members, ...)``.
        inputs: inputs of the window.
        loss_fn: ``(outputs, targets) -> loss``, lower is better.
        targets: targets of the window.
    """
    first, last = len(states), len(states) + len(inputs.tensors)

    def forward(data: list[Any]) -> Any:
        return call(inputs.fill(data[first:last]), refill(structure, data[:first]))  # (2)

    def finish(outputs: Any, data: list[Any]) -> Any:
        y, state = outputs
        return torch.as_tensor(-loss_fn(y, targets.fill(data[last:]))), state  # (3)

    data, shared = [*states, *inputs.tensors, *targets.tensors], [*inputs.shared, *targets.shared]
    return Task(forward, finish, data, shared, ("window", code_of(loss_fn)))
