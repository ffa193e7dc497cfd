"""Whether members written side by side differ from the centre as they do alone.

    effect of member i = logits_i - logits of the centre         (1)
    ‖effect side by side - effect alone‖ ≤ tolerance · ‖effect alone‖      (2)

σ is amplified until the effect is well above rounding: near the centre, an engine that lost the perturbation would look
right.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..._evaluate.loop import one_member
from ..._evaluate.probe import AMPLIFICATIONS, amplified, norm_of
from ...noise.perturbation import Delta

_VISIBLE = {torch.float32: 0.02, torch.float64: 0.02}  # effect over centre from which rounding plays no part
_AGREE = {torch.float32: 0.02, torch.float64: 0.02}
_COARSE = 0.3, 0.15  # of dtypes with few digits: visible, agree

Alone = Callable[[Sequence[Delta] | None], Tensor]
Together = Callable[[Sequence[Delta]], Tensor]


def disagreement(deltas: Sequence[Delta], dtype: torch.dtype, alone: Alone, together: Together) -> str | None:
    """Compares members written side by side with the same members alone.

    Args:
        deltas: of a few members.
        dtype: of the model's weights.
        alone: perturbations of one member, or None for the centre, to logits ``(rows, vocabulary)``.
        together: perturbations of all of them to logits ``(members, rows, vocabulary)``.

    Returns:
        What is wrong, or None.
    """
    visible, agree = _VISIBLE.get(dtype, _COARSE[0]), _AGREE.get(dtype, _COARSE[1])
    centre = alone(None).double()
    scale = norm_of(centre) or 1.0
    for factor in AMPLIFICATIONS:
        larger = amplified(deltas, factor)
        want = torch.stack([alone(one_member(larger, i)) for i in range(deltas[0].members)]).double() - centre
        if not bool(want.isfinite().all()):
            return None  # a model that overflows at this σ shows nothing more
        sizes = [norm_of(effect) for effect in want]
        if min(sizes) >= visible * scale:
            wrong = together(larger).double() - centre - want
            worst = max(norm_of(off) / size for off, size in zip(wrong, sizes, strict=True))
            if worst <= agree:
                return None
            return f"members side by side leave the centre otherwise than alone, by {worst:.1%} of the effect"
    return None
