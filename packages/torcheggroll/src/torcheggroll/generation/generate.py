"""Generation by every member: the population as one batch, with the same random numbers for all.

The members of a chunk are rows of one batch of the model's own ``generate``. Where that is not possible they generate
one after the other, with the same tokens.
"""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor

from .._checks import check, check_integer
from .._evaluate.evaluator import PROBED, Evaluator
from .._evaluate.folded import FoldError
from .._evaluate.intercept import perturbed
from .._evaluate.loop import one_member, perturbed_weights
from .._evaluate.probe import Probe, rounding_of
from .._evaluate.state import ModelState, evaluation
from .._evaluate.task import Task
from ..noise.perturbation import Delta
from ._decode.prompts import Prompts, encode
from ._decode.rows import Rows, tag
from ._decode.writers import CacheWriter, Plan, Writer, writer_of

if TYPE_CHECKING:
    from .step import RewardReport

_BUDGET = 512 << 20  # bytes of a chunk's caches, activations and factors
_LIVE = 4  # tensors of the largest size that are alive at once, roughly
_PROBED_PROMPTS = 4

DrawDeltas = Callable[[list[int]], list[Delta]]


class Generated(NamedTuple):
    """The texts of some members.

    Args:
        tokens: ``(members, prompts, T)`` int64, padded beyond the length of each text.
        lengths: ``(members, prompts)`` int64, number of tokens, including the one that ends the text.

    Example:
        >>> import torch
        >>> from torcheggroll.generation import Generated
        >>> written = Generated(torch.tensor([[[5, 6, 0], [7, 0, 0]]]), torch.tensor([[2, 1]]))
        >>> written.sequences(0)
        [[5, 6], [7]]
    """

    tokens: Tensor  # (members, prompts, T) int64; behind its length a text is padded
    lengths: Tensor  # (members, prompts) int64, tokens up to and with the one that ends the text

    def sequences(self, member: int) -> list[list[int]]:
        """Returns the tokens of each text of a member, without padding.

        Args:
            member: index along the first dimension of ``tokens``.
        """
        rows = zip(self.tokens[member], integers(self.lengths[member]), strict=True)
        return [integers(row[:length]) for row, length in rows]


class TextGenerator:
    """Lets members generate texts.

    Args:
        evaluator: the optimizer's evaluator, whose model, parameters, engine and budget are used.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._writer: Writer | None = None
        self._state: ModelState | None = None  # of the model while members write
        self._refused = False  # whether side by side was found not to do
        self._probed = 0  # calls since the last comparison
        self._sizes: Sizes | None = None
        self.tokens: int = 0  # of the last call, without padding
        self.seconds: float = 0.0  # of the last call
        self.report: RewardReport | None = None  # of the last step by rewards

    def generate(
        self,
        prompts: Any,
        draw: DrawDeltas,
        members: list[int] | None,
        *,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        eos_token_id: int | Sequence[int] | None,
        seed: int,
        tokenizer: Any,
        pad_token_id: int | None,
        cache: str | None,
        audit_every: int = 100,
    ) -> Generated:
        """Returns what ``members`` write, or the centre where they are None; see `TorchEggrollES.generate`."""
        model = self._evaluator.model
        check_integer("max_new_tokens", max_new_tokens, "[1, inf)")
        check("temperature", temperature, "[0, inf)")
        check("top_p", top_p, "(0, 1]")
        check_integer("seed", seed, "(-inf, inf)")
        self._writer = self._writer or writer_of(model)
        if cache is not None and isinstance(self._writer, CacheWriter):
            raise ValueError(f"cache must be None for a module that has its own, got {cache!r}")
        ends = end_tokens(model, tokenizer, eos_token_id)
        device = self._evaluator.parameters[0].value.device
        given = encode(prompts, tokenizer, model, max_new_tokens, ends, pad_token_id, device, self._writer.padded)
        plan = Plan(max_new_tokens, ends, temperature, top_p, seed, cache)
        began = time.perf_counter()
        with evaluation(model, [p.value for p in self._evaluator.parameters]) as self._state:
            if members is None:
                found = self._centre(given, plan)
            else:
                self._choose(given, draw, members, audit_every)
                found = self._write(given, plan, draw, members)
        self._state = None
        self.tokens, self.seconds = int(found.lengths.sum()), time.perf_counter() - began
        return found

    def _write(self, prompts: Prompts, plan: Plan, draw: DrawDeltas, members: list[int]) -> Generated:
        count, width = len(prompts.tokens), plan.max_new_tokens
        tokens = prompts.tokens.new_full((len(members), count, width), prompts.pad)
        assert self._writer is not None
        batches = list(_batches(prompts, self._writer.padded))
        for first, last, most in self._chunks(len(members), count, prompts.tokens.shape[1] + width):
            deltas = draw(members[first:last])
            for batch, at in batches:
                for begin in range(0, len(at), most):
                    numbers = at[begin : begin + most]
                    part = batch.part(begin, begin + most)
                    out = self._side_by_side(deltas, part, numbers, plan)
                    tokens[first:last, numbers, : out.shape[-1]] = out
        return finished(tokens, plan.ends, prompts.pad)

    def _centre(self, prompts: Prompts, plan: Plan) -> Generated:
        writer = cast(Writer, self._writer)
        tokens = prompts.tokens.new_full((1, len(prompts.tokens), plan.max_new_tokens), prompts.pad)
        for batch, at in _batches(prompts, writer.padded):
            out = self._alone(None, functools.partial(writer.write, batch, at, plan))
            tokens[0, at, : out.shape[-1]] = out
        return finished(tokens, plan.ends, prompts.pad)

    def _side_by_side(self, deltas: list[Delta], prompts: Prompts, numbers: list[int], plan: Plan) -> Tensor:
        """Returns ``(members, prompts, tokens)`` of a chunk."""
        assert self._writer is not None
        members = deltas[0].members
        if self._evaluator.last == "fold":
            try:
                out = self._rows(deltas, prompts, lambda batch: cast(Writer, self._writer).write(batch, numbers, plan))[
                    0
                ]
                return out.reshape(members, len(numbers), -1)
            except FoldError as error:
                self._refuse(str(error))
        texts = [self._alone(one_member(deltas, i), lambda: cast(Writer, self._writer).write(prompts, numbers, plan))
                 for i in range(members)]  # fmt: skip
        out = prompts.tokens.new_full((members, len(numbers), max(t.shape[1] for t in texts)), prompts.pad)
        for i, text in enumerate(texts):
            out[i, :, : text.shape[1]] = text
        return out

    def _rows(
        self, deltas: Sequence[Delta], prompts: Prompts, work: Callable[[Prompts], Tensor]
    ) -> tuple[Tensor, Rows]:
        """Runs ``work`` on a batch that holds the prompts of every member."""
        members = deltas[0].members
        tokens, mask = (t.repeat(members, 1) for t in prompts[:2])
        named = perturbed(self._evaluator.parameters, deltas)
        self._begin_anew()
        with Rows(named, members, len(tokens), self._evaluator.warn) as rows:
            out = work(Prompts(tag(tokens, "ordered"), tag(mask, "ordered"), prompts.pad))
        return out, rows

    def _alone(self, deltas: Sequence[Delta] | None, work: Callable[[], Tensor]) -> Tensor:
        self._begin_anew()
        if deltas is None:
            return work()
        with perturbed_weights(self._evaluator.parameters, deltas, self._evaluator.warn):
            return work()

    def _begin_anew(self) -> None:
        """Lets the model be what it was before anyone wrote."""
        if self._state is not None:
            self._state.restore()

    def _choose(self, prompts: Prompts, draw: DrawDeltas, members: list[int], audit_every: int) -> None:
        """Decides whether members generate in one batch, and compares a few at intervals."""
        evaluator = self._evaluator
        if self._refused or evaluator.engine == "loop" or not members:
            evaluator.last = "loop"
            return
        evaluator.last = "fold"
        due = self._sizes is None or bool(audit_every and self._probed >= audit_every)
        self._probed = 1 if due else self._probed + 1
        if not due:
            return
        deltas, (batch, at) = draw(members[:PROBED]), next(_batches(prompts, cast(Writer, self._writer).padded))
        reason = self._fault(deltas, batch.part(0, _PROBED_PROMPTS), len(at[:_PROBED_PROMPTS]))
        if reason is not None:
            self._refuse(reason)

    def _fault(self, deltas: list[Delta], prompts: Prompts, count: int) -> str | None:
        """Compares the logits of members in one batch with those of the same members alone, by the evaluator's rule."""
        writer, evaluator, used = cast(Writer, self._writer), self._evaluator, set[str]()

        def alone(larger: Sequence[Delta], _: Task) -> list[Tensor]:
            own = [one_member(larger, i) for i in range(larger[0].members)]
            return [self._alone(member, lambda: writer.logits(prompts)[0]) for member in own]

        def together(larger: Sequence[Delta], _: Task) -> Tensor:
            caches: list[Any] = []

            def logits(batch: Prompts) -> Tensor:
                out, cache = writer.logits(batch)
                caches.append(cache)
                return out

            out, rows = self._rows(larger, prompts, logits)
            used.update(rows.used)
            held = sum(t.numel() * t.element_size() for t in tensors_in(caches[0]))
            factors = sum(t.numel() * t.element_size() for d in larger for t in d.tensors) // rows.members
            self._sizes = Sizes(held // (rows.rows * prompts.tokens.shape[1]), rows.largest // rows.rows, factors)
            return out.reshape(rows.members, count, -1)

        probe = Probe(Task(None, None, []), deltas, alone, rounding_of([p.value for p in evaluator.parameters]))
        probe.effects(1.0)  # what the model itself raises is the caller's to see
        try:
            fault = evaluator.compare("side by side", probe, together, used)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            fault = f"side by side met {type(error).__name__}: {error}".splitlines()[0]
        evaluator.tell_of_effects(probe)
        return fault

    def _refuse(self, reason: str) -> None:
        evaluator = self._evaluator
        if evaluator.engine == "fold":
            raise RuntimeError(f"engine='fold' can not write with this model: {reason}; use engine='auto'")
        evaluator.warn("generation", f"torcheggroll lets one member write after the other, since {reason}")
        self._refused, evaluator.last = True, "loop"

    def _chunks(self, members: int, prompts: int, length: int) -> Iterator[tuple[int, int, int]]:
        """Yields the first and the last member of each chunk, and how many prompts to take at once."""
        evaluator, most, size = self._evaluator, prompts, self._evaluator.chunk_size
        if self._sizes is not None:
            budget, row = evaluator.memory_budget or default_budget(evaluator), self._sizes.row(length)
            size = size or max((budget // (row * prompts + 2 * self._sizes.factors)) // 2 * 2, 1)
            least = min(size, members)
            most = min(max((budget - 2 * least * self._sizes.factors) // (row * least), 1), prompts)
        size = size or members
        for first in range(0, members, size):
            yield first, min(first + size, members), most


class Sizes(NamedTuple):
    """Bytes, as measured on the first prompts."""

    cached: int  # of one token of one text
    largest: int  # of the largest tensor, per text
    factors: int  # of one member's perturbations

    def row(self, length: int) -> int:
        """Returns the bytes of one text of ``length`` tokens."""
        return self.cached * length + _LIVE * self.largest + 1


def integers(row: Tensor) -> list[int]:
    """Returns the numbers of a vector."""
    return cast("list[int]", row.tolist())  # pyright: ignore[reportUnknownMemberType]


def default_budget(evaluator: Evaluator) -> int:
    """Returns the bytes that a chunk may take: on a GPU half of what is free."""
    device = evaluator.parameters[0].value.device
    return torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else _BUDGET


def end_tokens(model: Any, tokenizer: Any, given: int | Sequence[int] | None) -> tuple[int, ...]:
    """Returns the tokens that end a text: those given, else the model's, else the tokenizer's."""
    found: Any = given
    if given is None:
        found = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
        found = getattr(tokenizer, "eos_token_id", None) if found is None else found
    if found is None:
        return ()
    each: list[Any] = list(found) if hasattr(found, "__iter__") and not isinstance(found, str) else [found]
    for token in each:
        check_integer("eos_token_id", int(token) if isinstance(token, Tensor) else token, "[0, inf)")
    return tuple(int(token) for token in each)


def finished(tokens: Tensor, ends: Sequence[int], pad: int) -> Generated:
    """Counts each text's tokens up to the first that ends it, and pads what follows."""
    width = tokens.shape[-1]
    if not ends:
        return Generated(tokens, torch.full(tokens.shape[:-1], width, device=tokens.device))
    over = torch.isin(tokens, torch.tensor(list(ends), device=tokens.device))
    lengths = torch.where(over.any(-1), over.int().argmax(-1) + 1, width)
    behind = torch.arange(width, device=tokens.device) >= lengths.unsqueeze(-1)
    longest = int(lengths.max()) if lengths.numel() else 0
    return Generated(tokens.masked_fill(behind, pad)[..., :longest], lengths)


def _batches(prompts: Prompts, padded: bool) -> Iterator[tuple[Prompts, list[int]]]:
    """Yields prompts that can be one batch, and their numbers: all, or those of one length without padding."""
    if padded:
        yield prompts, list(range(len(prompts.tokens)))
        return
    lengths = integers(prompts.mask.sum(1))
    for length in sorted(set(lengths)):
        at = [i for i, own in enumerate(lengths) if own == length]
        part = prompts.take(at)
        yield Prompts(part.tokens[:, -length:], part.mask[:, -length:], prompts.pad), at


def tensors_in(value: Any, depth: int = 4) -> list[Tensor]:
    """Lists the tensors of a cache, whatever it is made of."""
    if isinstance(value, Tensor):
        return [value]
    if depth == 0 or value is None or isinstance(value, str | int | float):
        return []
    if isinstance(value, tuple | list):
        items = list(cast("list[Any]", value))
    else:
        named: Any = cast("Any", value) if isinstance(value, dict) else getattr(value, "__dict__", {})
        items = list(cast("dict[str, Any]", named).values())
    return [t for item in items for t in tensors_in(item, depth - 1)]
