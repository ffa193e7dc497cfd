"""Sampling with random numbers that all members share, so that members differ only by their weights.

    l = logits/T                                              (1)  T: the temperature
    l_v = -∞ where the tokens likelier than v hold at least p        (2)  top-p: the smallest set that holds p stays
    u_v = (⌊w_v/2¹¹⌋ + ½)/2⁵³,  g_v = -log(-log u_v)             (3)  Gumbel noise, from word w_v of a counter
    token = argmax_v (l_v + g_v)                              (4)  distributed as softmax(l)

The word is a function of (seed, prompt, position, v), where a position counts generated tokens: a member's tokens do
not depend on padding, on chunks or on ranks. A temperature of 0 takes the largest logit, without noise.

Source: Gumbel 1954; Maddison, Tarlow & Minka 2014 (A* sampling), https://arxiv.org/abs/1411.0030; Holtzman et al. 2020
(top-p), https://arxiv.org/abs/1904.09751
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .._checks import check
from ..noise.counter import keys, start, steps, words

_BITS = 53


class GumbelNoise:
    """Perturbs next-token scores so that the largest is a sample; also a logits processor for Transformers.

    Args:
        seed: seed of the noise.
        prompts: index of each prompt; rows of a batch are ordered member by member.
        length: number of tokens of a padded prompt, at the start of each row of ``input_ids``.
        temperature: T, at least 0; 0 leaves the scores unchanged, for greedy decoding.
        top_p: in (0, 1]; tokens outside the smallest most likely set with this probability are excluded.

    Raises:
        ValueError: ``temperature`` or ``top_p`` lies outside its interval.

    Source: Maddison, Tarlow & Minka 2014, https://arxiv.org/abs/1411.0030

    Example:
        >>> import torch
        >>> from torcheggroll.generation import GumbelNoise
        >>> noise = GumbelNoise(seed=0, prompts=[0, 1], length=3)
        >>> tokens, scores = torch.zeros(4, 3, dtype=torch.long), torch.zeros(4, 10)
        >>> chosen = noise(tokens, scores).argmax(-1)  # two members, two prompts each
        >>> bool((chosen[:2] == chosen[2:]).all())
        True
    """

    def __init__(
        self, seed: int, prompts: Sequence[int], length: int, temperature: float = 1.0, top_p: float = 1.0
    ) -> None:
        check("temperature", temperature, "[0, inf)")
        check("top_p", top_p, "(0, 1]")
        self.seed: int = seed
        self.prompts: list[int] = list(prompts)
        self.length: int = length
        self.temperature: float = temperature
        self.top_p: float = top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Returns the perturbed scores.

        Args:
            input_ids: ``(rows, tokens)``, prompts and the tokens generated so far.
            scores: ``(rows, vocabulary)``, logits of the next token.

        Returns:
            ``(rows, vocabulary)``; the largest of a row is a sample.
        """
        return self.perturb(scores, input_ids.shape[1] - self.length)

    def perturb(self, scores: Tensor, position: int) -> Tensor:
        """Returns the perturbed scores, ``(rows, vocabulary)``.

        Args:
            scores: ``(rows, vocabulary)``, logits.
            position: position of the token among the generated ones, from 0.
        """
        if self.temperature == 0:
            return scores
        scores = nucleus(scores / self.temperature, self.top_p)  # (1)
        noise = gumbel(self.seed, self.prompts, position, scores.shape[-1], scores.device).to(scores.dtype)
        return (scores.view(-1, *noise.shape) + noise).view_as(scores)  # (4)


def gumbel(seed: int, prompts: Sequence[int], position: int, vocabulary: int, device: torch.device) -> Tensor:
    """Returns the noise of some prompts, ``(prompts, vocabulary)`` float64."""
    at = torch.tensor([start(seed, position, 0)], device=device)
    key = keys(at, torch.tensor(list(prompts), dtype=torch.int64, device=device))
    bits = words(key, steps(0, vocabulary, device)).bitwise_right_shift_(64 - _BITS).bitwise_and_((1 << _BITS) - 1)
    u = bits.double().add_(0.5).mul_(2.0**-_BITS)  # (3)
    return u.log_().neg_().log_().neg_()  # (3)


def nucleus(scores: Tensor, top_p: float) -> Tensor:
    """Returns scores without the tokens outside the smallest set that holds ``top_p``."""
    if top_p >= 1:
        return scores
    ordered, at = scores.sort(dim=-1, descending=True)
    chance = ordered.softmax(-1)
    before = chance.cumsum(-1) - chance
    outside = torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, at, before >= top_p)
    return scores.masked_fill(outside, float("-inf"))  # (2)
