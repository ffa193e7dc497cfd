"""Fitness shaping: from measured fitness to the weight of each member.

    zscore    fᵢ = (sᵢ - mean s)/std s          (1)  std unbiased, as releases 0.1 and 0.2
    centered  fᵢ = sᵢ - mean s                  (2)
    rank      fᵢ = rankᵢ/(N - 1) - ½            (3)  equal fitnesses share their mean rank
    sign      f₂ₖ = ½ sign(s₂ₖ - s₂ₖ₊₁) = -f₂ₖ₊₁  (4)
    group     fᵢ = (sᵢ - mean of its group)/std s  (5)  std over the whole population
    question  fᵢ = mean_q (s_iq - mean_i s_iq)/std s  (6)  s: population × questions
    raw       fᵢ = sᵢ                           (7)

Statistics are taken over the members that count, in float64; equal fitnesses give zeros, and so no update. A z-score
has no unit: fitnesses times 1e-9 give the same update.

Source: Sarkar et al. 2025 (EGGROLL), sections 6.3 and H.2, table 15, https://arxiv.org/abs/2511.16652; Salimans et al.
2017, https://arxiv.org/abs/1703.03864 (centred ranks)
"""

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, cast

import torch
from torch import Tensor

NAN = float("nan")
Shaping = Callable[[Tensor], Tensor]


def _divide(f: Tensor, s: Tensor) -> Tensor:
    """Divides by the deviation of ``s``, whatever its unit: neither tiny nor huge fitnesses lose their digits."""
    unit = s.abs().max()
    if s.numel() < 2 or float(unit) == 0:
        return f
    deviation = (s / unit).std()
    return f / unit / deviation if float(deviation) > 0 else f


def zscore(s: Tensor) -> Tensor:
    """Takes off the mean and divides by the deviation."""
    return _divide(s - s.mean(), s)  # (1)


def centered(s: Tensor) -> Tensor:
    """Takes off the mean."""
    return s - s.mean()  # (2)


def rank(s: Tensor) -> Tensor:
    """Replaces each fitness by its rank, from -½ to ½."""
    ordered = s.sort().values
    first, behind = torch.searchsorted(ordered, s), torch.searchsorted(ordered, s, right=True)
    own = (first + behind - 1).to(s.dtype) / 2
    return own / max(len(s) - 1, 1) - 0.5  # (3)


def sign(s: Tensor) -> Tensor:
    """Asks of each pair only which of the two is better; members 2k and 2k + 1 are neighbours."""
    better = torch.sign(s[0::2] - s[1::2]) / 2
    return torch.stack([better, -better], 1).flatten()  # (4)


def group(s: Tensor, groups: Tensor) -> Tensor:
    """Takes off the mean of the member's group, and divides by the deviation of all."""
    number = int(groups.max()) + 1
    total = s.new_zeros(number).index_add_(0, groups, s)
    count = s.new_zeros(number).index_add_(0, groups, torch.ones_like(s)).clamp_(min=1)
    return _divide(s - (total / count)[groups], s)  # (5)


def question(s: Tensor) -> Tensor:
    """Takes off each question's mean, divides by the deviation of all, and averages the questions."""
    return _divide(s - s.mean(0), s).mean(1)  # (6)


def raw(s: Tensor) -> Tensor:
    """Leaves the fitness as it is."""
    return s  # (7)


SHAPINGS: dict[str, Shaping] = {
    "zscore": zscore,
    "centered": centered,
    "rank": rank,
    "sign": sign,
    "question": question,
    "raw": raw,
}


def shape_fitness(s: Tensor, shaping: str | Shaping, antithetic: bool, group_size: int | None) -> tuple[Tensor, Tensor]:
    """Turns fitnesses into weights, leaving out every pair with a member that has none.

    Args:
        s: ``(N,)``, or ``(N, questions)``, float64; NaN and infinity mean that the member has no fitness.
        shaping: a name of this module, or a function of the counted members' fitnesses.
        antithetic: members 2k and 2k + 1 stand or fall together.
        group_size: members per group, for ``"group"``.

    Returns:
        The weights ``(N,)``, zero where a member does not count, and which members count.

    Raises:
        ValueError: the callable gave something else than one finite weight per member.
    """
    if shaping == "question" and s.dim() == 1:
        s = s.unsqueeze(1)
    counted = torch.isfinite(s) if s.dim() == 1 else torch.isfinite(s).all(1)
    if antithetic:
        counted = counted.view(-1, 2).all(1).repeat_interleave(2)
    f = s.new_zeros(len(s))
    kept = s[counted]
    if kept.dim() == 2 and shaping != "question" and isinstance(shaping, str):
        kept = kept.mean(1)
    if kept.numel() == 0 or (float(kept.max() - kept.min()) == 0 and shaping != "raw"):
        return f, counted
    if shaping == "group":
        f[counted] = group(kept, (torch.arange(len(s)) // (group_size or len(s)))[counted])
    elif isinstance(shaping, str):
        f[counted] = SHAPINGS[shaping](kept)
    else:
        f[counted] = _checked(shaping(kept), kept)
    return f, counted


def alike(s: Tensor, counted: Tensor) -> bool:
    """Returns whether all members that count, two at least, have one fitness."""
    kept = s[counted]
    return len(kept) > 1 and bool((kept == kept[0]).all())


def _checked(weights: Tensor, kept: Tensor) -> Tensor:
    weights = torch.as_tensor(weights, dtype=kept.dtype, device=kept.device)
    if weights.shape != kept.shape[:1] or not bool(torch.isfinite(weights).all()):
        raise ValueError(
            f"the fitness callable must return one finite weight per member, shape ({len(kept)},), "
            f"got {tuple(weights.shape)}: {weights}"
        )
    return weights


def fitness_table(results: Any) -> Tensor:
    """Turns fitnesses into ``(N,)``, or ``(N, evaluations)``, float64 on the CPU.

    Args:
        results: a tensor, or one number, tensor, sequence of numbers, or None for each member. None and a member that
            is missing some evaluations become NaN.

    Raises:
        TypeError: a fitness is not a real number.
    """
    if isinstance(results, Tensor):
        if results.is_complex() or results.dim() not in (1, 2):
            raise TypeError(f"fitness must be one real number per member, got {results.dtype} {tuple(results.shape)}")
        return results.detach().to("cpu", torch.float64)
    tensors = [r for r in results if isinstance(r, Tensor)]
    if tensors and len(tensors) == len(results) and all(t.numel() == 1 for t in tensors):
        return torch.stack([t.detach().reshape(()) for t in tensors]).to("cpu", torch.float64)
    rows = [_row(result) for result in results]
    width = max((len(row) for row in rows), default=1)
    filled = [row + [NAN] * (width - len(row)) for row in rows]
    table = torch.tensor(filled, dtype=torch.float64).reshape(len(rows), width)
    return table.squeeze(1) if width == 1 else table


def _row(result: Any) -> list[float]:
    if result is None:
        return [NAN]
    if isinstance(result, Tensor) or hasattr(result, "tolist"):
        result = cast("Any", result).tolist()
    if isinstance(result, Real):
        return [float(result)]
    if isinstance(result, Sequence) and not isinstance(result, str):
        values = list(cast("Sequence[object]", result))
        if all(isinstance(v, Real) for v in values):
            return [float(cast(float, v)) for v in values]
    found = cast("object", result)
    raise TypeError(f"fitness must be a real number, or one per evaluation, got {found!r} of {type(found).__name__}")
