"""Evolution through windows of a sequence: one perturbation and one state per member, for the whole sequence.

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

from ._engines import Task
from ._evaluator import refill, sliced


def begin(initial: list[Tensor], members: int) -> list[Tensor]:
    """Give every member the initial state: each tensor with ``members`` in front."""
    return [s.unsqueeze(0).expand(members, *s.shape).clone() for s in initial]  # (1)


def begins(epoch: int, windows: int) -> bool:
    """Say whether a sequence of ``windows`` windows begins at ``epoch``; with 0 it never ends."""
    return epoch == 0 if windows == 0 else epoch % windows == 0


def window_task(
    call: Callable[[Any, Any], Any],
    structure: Any,
    states: list[Tensor],
    inputs: Any,
    loss_fn: Callable[[Any, Any], Any],
    targets: Any,
    own: tuple[bool, bool],
) -> Task:
    """Ask of each member its fitness over one window, and the state behind it.

    Args:
        call: the model, ``(inputs, state) -> (outputs, state)``.
        structure: a state of one member; the tensors in it are replaced.
        states: the members' tensors, members in front.
        inputs: of the window.
        loss_fn: ``(outputs, targets) -> loss``, lower is better.
        targets: of the window.
        own: whether inputs, and whether targets, have one slice per member in front.
    """
    members = len(states[0])
    xs = sliced(inputs, members, "inputs") if own[0] else []
    ys = sliced(targets, members, "targets") if own[1] else []
    first, last = len(states), len(states) + len(xs)

    def forward(data: list[Any]) -> Any:
        x = refill(inputs, data[first:last]) if own[0] else inputs
        return call(x, refill(structure, data[:first]))  # (2)

    def finish(outputs: Any, data: list[Any]) -> Any:
        y, state = outputs
        fitness = -loss_fn(y, refill(targets, data[last:]) if own[1] else targets)  # (3)
        return torch.as_tensor(fitness), state

    return Task(forward, finish, [*states, *xs, *ys])
