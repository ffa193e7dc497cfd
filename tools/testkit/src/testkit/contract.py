"""What an optimizer documents about itself, where that differs from a plain ``torch.optim`` optimizer."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Contract:
    """Properties that the checks cannot infer; the defaults fit ``torch.optim.AdamW``.

    Args:
        intervals: where each setting must lie, as on paper: ``{"lr": "[0, inf)", "betas[0]": "[0, 1)"}``. A setting
            that is a key of the parameter groups is checked there too; any other is checked as an argument alone.
        integers: the names among ``intervals`` that take whole numbers only.
        overrides: further group settings that a group can override, each with a value that changes the run; ``lr``,
            ``betas``, ``momentum``, ``weight_decay`` and ``eps`` are tried unasked where the groups have them.
        complex: whether complex parameters are trained like their real view, or refused by name.
        sparse: whether sparse gradients are refused by name, or trained like dense ones.
        closure: ``"once"`` is torch's way: called once, before the step. ``"needed"``: ``step`` cannot do without and
            may call it more often, as LBFGS does. ``"refused"``: passing one is an error.
        feed: called with the optimizer and the detached loss before each ``step``, for optimizers that want the loss.
        host_reads: how often one step, ``feed`` included, may wait for the device; ``None``: as often as it likes.
        host_state: the entries of the state that live on the host wherever the parameters are, and may be read freely.
        changes_gradients: ``step`` may write to ``.grad``.
        draws_from_global_stream: ``step`` takes its random numbers from torch's global stream, as documented.
        noise_follows_layout: the run depends on the strides of a parameter, as documented.
        one_group: more than one parameter group is refused.
        tensor_lr: a tensor may stand for the learning rate; ``False``: it is refused by name.
        dtypes: the dtypes a parameter may have.
        reference: the settings of the reference path; ``None``: ``foreach=False, fused=False``, where they exist.
        fast: the settings of each fast path; ``None``: ``foreach=True`` and ``fused=True``, where ``make`` is a class
            and has them.
        fast_tolerance: how far a fast path may be from the reference, relative and absolute; ``0.0``: to the bit;
            ``None``: eight times the dtype's ``eps``.
        shows: further settings, besides those of the groups, that ``repr`` shows.
    """

    intervals: Mapping[str, str] = field(default_factory=dict[str, str])
    integers: Collection[str] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict[str, Any])
    complex: Literal["either", "supported", "refused"] = "either"
    sparse: Literal["refused", "supported"] = "refused"
    closure: Literal["once", "needed", "refused"] = "once"
    feed: Callable[[Any, Tensor], object] | None = None
    host_reads: int | None = 0
    host_state: Collection[str] = ("step",)
    changes_gradients: bool = False
    draws_from_global_stream: bool = False
    noise_follows_layout: bool = False
    one_group: bool = False
    tensor_lr: bool = True
    dtypes: Sequence[torch.dtype] = (torch.float64, torch.float32, torch.bfloat16)
    reference: Mapping[str, Any] | None = None
    fast: Sequence[Mapping[str, Any]] | None = None
    fast_tolerance: float | None = None
    shows: Collection[str] = ()


PLAIN = Contract()
