"""Rewards for texts: one call per text or per member, in this thread, in others, or in other processes.

A reward that raises, takes too long or returns None is counted and leaves its member without a fitness, which drops the
pair; the others continue.
"""

import math
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence, Sized
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from .._checks import check, check_integer

Reward = Callable[[Any, Any], Any]


class Scores(NamedTuple):
    """The scores of the texts of some members.

    Args:
        values: ``(members, prompts)`` float64; NaN where there is no score.
        failed: number of calls that raised.
        late: number of calls that timed out.
        missing: number of scores that are None or not finite.
        reason: the first exception, or None.

    Example:
        >>> from torcheggroll.generation import RewardPool
        >>> scores = RewardPool(lambda prompt, text: 1 / len(text)).score(["x"], [["ab"], [""]])
        >>> scores.failed, scores.reason
        (1, 'ZeroDivisionError: division by zero')
    """

    values: Tensor  # (members, prompts) float64; NaN where there is none
    failed: int  # calls that raised
    late: int  # calls that took too long
    missing: int  # scores that are None or no finite number
    reason: str | None  # the first exception


class _Outcome(NamedTuple):
    value: Any = None
    error: str | None = None
    late: bool = False


class RewardPool:
    """Scores texts by a function, with concurrent calls in threads or processes.

    Args:
        reward: ``(prompt, text) -> number``, higher is better; with ``batched`` ``(prompts, texts) -> numbers``, called
            once per member. A text is a string if a tokenizer was given, else a list of tokens.
        batched: whether ``reward`` takes all texts of a member.
        workers: number of concurrent calls; 0 calls in the caller's thread, without a timeout.
        processes: use processes, which a timeout ends, instead of threads, which it abandons. A reward for processes
            must be importable.
        timeout: seconds that a call may take, or None.

    Raises:
        ValueError: ``workers`` or ``timeout`` lies outside its interval, or they contradict each other.
        TypeError: ``reward`` is not a function, or cannot be sent to processes.

    Example:
        >>> from torcheggroll.generation import RewardPool
        >>> with RewardPool(lambda prompt, text: text.count("a"), workers=2, timeout=5.0) as pool:
        ...     pool.score(["x"], [["aba"], ["b"]]).values
        tensor([[2.],
                [0.]], dtype=torch.float64)
    """

    def __init__(
        self,
        reward: Reward,
        *,
        batched: bool = False,
        workers: int = 0,
        processes: bool = False,
        timeout: float | None = None,
    ) -> None:
        if not callable(reward):
            raise TypeError(f"reward must be a function of prompt and text, got {reward!r}")
        check_integer("workers", workers, "[0, inf)")
        if timeout is not None:
            check("timeout", timeout, "(0, inf)")
        if not workers and (processes or timeout is not None):
            raise ValueError("workers must be 1 or more for a timeout or for processes, got 0; pass workers=")
        if processes:
            _check_travels(reward)
        self.reward: Reward = reward
        self.batched: bool = batched
        self.workers: int = workers
        self.timeout: float | None = timeout
        self._start: Callable[[Any, Any], Future[Any]] = self._in_process if processes else self._in_thread
        self._processes: ProcessPoolExecutor | None = None

    def score(self, prompts: Sequence[Any], texts: Sequence[Sequence[Any]]) -> Scores:
        """Returns the score of every text.

        Args:
            prompts: P prompts.
            texts: for each member, P continuations.

        Returns:
            The scores, with counts of what failed.

        Raises:
            ValueError: a batched reward returns another number of scores than it got texts.
            TypeError: a reward returns neither a number nor None.
            RuntimeError: processes cannot import the reward.
        """
        if self.batched:
            calls = [(list(prompts), list(own)) for own in texts]
        else:
            calls = [(prompt, text) for own in texts for prompt, text in zip(prompts, own, strict=True)]
        outcomes = self._pooled(calls) if self.workers else [_called(self.reward, *call) for call in calls]
        values = torch.full((len(texts), len(prompts)), math.nan, dtype=torch.float64)
        rows = values if self.batched else values.view(-1, 1)
        for row, outcome in zip(rows, outcomes, strict=True):
            if outcome.error is None and not outcome.late:
                row.copy_(_numbers(outcome.value, len(row), self.batched))
        failed, late = sum(o.error is not None for o in outcomes), sum(o.late for o in outcomes)
        lost = (failed + late) * (len(prompts) if self.batched else 1)
        reason = next((o.error for o in outcomes if o.error is not None), None)
        return Scores(values, failed, late, int((~values.isfinite()).sum()) - lost, reason)

    def _pooled(self, calls: Sequence[tuple[Any, Any]]) -> list[_Outcome]:
        """Keeps ``workers`` calls running, so that each one's time counts from its own start."""
        outcomes: list[_Outcome] = [_Outcome()] * len(calls)
        waiting, suspects = deque(range(len(calls))), deque[int]()  # suspects of ending their process run alone
        running: dict[Future[Any], tuple[int, float]] = {}
        while waiting or suspects or running:
            while (suspects and not running) or (waiting and not suspects and len(running) < self.workers):
                at = (suspects or waiting).popleft()
                future = self._start(*calls[at])  # processes begin here, if they have to
                running[future] = at, time.monotonic()
            oldest = min(began for _, began in running.values())
            left = None if self.timeout is None else max(oldest + self.timeout - time.monotonic(), 0.0)
            done, _ = wait(running, left, FIRST_COMPLETED)
            broken = any(map(_lost, done))
            if broken:
                self._end_processes()
            if broken and len(running) > 1:
                suspects += sorted(at for future, (at, _) in running.items() if not _answered(future))
                done = {future for future in running if _answered(future)}
            for future in done:
                outcomes[running.pop(future)[0]] = _outcome(future)
            if broken:
                running.clear()
            else:
                self._drop_late(running, waiting, outcomes)
        return outcomes

    def _drop_late(
        self, running: dict[Future[Any], tuple[int, float]], waiting: deque[int], outcomes: list[_Outcome]
    ) -> None:
        if self.timeout is None:
            return
        now = time.monotonic()
        late = [f for f, (_, began) in running.items() if not f.done() and now - began >= self.timeout]
        for future in late:
            outcomes[running.pop(future)[0]] = _Outcome(late=True)
        if late and self._processes is not None:
            self._end_processes()
            for future in [f for f in running if not _answered(f)]:
                waiting.appendleft(running.pop(future)[0])  # it shared the pool with a late one, and begins again

    def _in_thread(self, prompt: Any, text: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def work() -> None:
            future.set_result(_called(self.reward, prompt, text))

        threading.Thread(target=work, daemon=True).start()
        return future

    def _in_process(self, prompt: Any, text: Any) -> Future[Any]:
        if self._processes is None:
            self._processes = self._begin_processes()
        return self._processes.submit(_called, self.reward, prompt, text)

    def _begin_processes(self) -> ProcessPoolExecutor:
        """Starts every process and waits until all have imported what they need: no call's time includes that."""
        context = get_context("spawn")
        pool = ProcessPoolExecutor(
            self.workers, context, initializer=_begin, initargs=(context.Barrier(self.workers), self.reward)
        )
        try:
            for future in [pool.submit(_answer) for _ in range(self.workers)]:
                future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "processes for a reward must be able to import it, but they ended as they began, for a reason in their "
                "output; define it in a module, and let a script begin its work under if __name__ == '__main__'"
            ) from error
        return pool

    def _end_processes(self) -> None:
        pool, self._processes = self._processes, None
        if pool is not None:
            alive = list(cast("dict[int, Any]", getattr(pool, "_processes", None) or {}).values())
            for process in alive:
                process.kill()
            pool.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        """Ends the processes; they are started again when needed."""
        self._end_processes()

    def __enter__(self) -> "RewardPool":
        """Is itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the processes."""
        self.close()


def _check_travels(reward: Reward) -> None:
    """Refuses what can not be sent to a process."""
    try:
        pickle.dumps(reward)
    except Exception as error:
        raise TypeError(
            f"a reward for processes must be importable, so no lambda and no function inside another, got {reward!r}; "
            "define it at the top of a module, or use threads"
        ) from error


def _begin(ready: Any, _: Reward) -> None:
    """Prepares a process, once its arguments are imported, and waits for the others."""
    ready.wait()


def _answer() -> None:
    """Does nothing, in a process that is ready."""


def _lost(future: Future[Any]) -> bool:
    """Returns whether a call ended with its process, or with that of another call."""
    return future.cancelled() or (future.done() and isinstance(future.exception(), BrokenProcessPool))


def _answered(future: Future[Any]) -> bool:
    return future.done() and not _lost(future)


def _called(reward: Reward, prompt: Any, text: Any) -> _Outcome:
    try:
        return _Outcome(reward(prompt, text))
    except Exception as error:
        return _Outcome(error=f"{type(error).__name__}: {error}")


def _outcome(future: Future[Any]) -> _Outcome:
    error = future.exception()
    if error is None:
        return cast(_Outcome, future.result())
    died = isinstance(error, BrokenProcessPool)
    return _Outcome(error=f"{type(error).__name__}: {'a worker ended' if died else error}")


def _numbers(value: Any, count: int, batched: bool) -> Tensor:
    """Reads what a reward gave: a number, or with ``batched`` one for each of ``count`` texts."""
    given: Any = value
    if batched:
        given = given.tolist() if hasattr(given, "tolist") else given
        if not hasattr(given, "__len__") or isinstance(given, str | Mapping) or len(cast("Sized", given)) != count:
            raise ValueError(
                f"a batched reward must give one score for each of its {count} texts, got {value!r}; return a list of "
                f"{count} numbers, None for what can not be scored"
            )
    else:
        given = [given]
    numbers = [_number(v) for v in list[Any](given)]
    return torch.tensor([v if math.isfinite(v) else math.nan for v in numbers], dtype=torch.float64)


def _number(value: Any) -> float:
    try:
        if not isinstance(value, str | bytes):
            return math.nan if value is None else float(value)
    except (TypeError, ValueError, RuntimeError):
        pass
    raise TypeError(f"a reward must give a number, or None for what can not be scored, got {value!r:.80}")
