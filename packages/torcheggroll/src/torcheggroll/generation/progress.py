"""A progress line for runs by rewards."""

import sys
import time
from typing import TYPE_CHECKING, TextIO

from ..diagnostics import Diagnostics

if TYPE_CHECKING:
    from ..es import TorchEggrollES


class ProgressLine:
    """Prints one line per step: reward, spread, tokens per second, time left; on a terminal, over the previous one.

    Args:
        es: the optimizer, to whose ``callbacks`` this is appended.
        steps: number of steps of the run.
        stream: where to print; None for standard error.

    Example:
        >>> import sys, torch
        >>> from torcheggroll import TorchEggrollES
        >>> from torcheggroll.generation import ProgressLine
        >>> es = TorchEggrollES(torch.nn.Linear(2, 1), pop_size=4, seed=0)
        >>> es.callbacks.append(ProgressLine(es, steps=10, stream=sys.stdout))
        >>> population = es.ask()
        >>> mean = es.tell([1.0, 2.0, 1.0, 2.0])
        step 1/10  reward 1.500 ± 0.577  0:00:00 left
    """

    def __init__(self, es: "TorchEggrollES", steps: int, stream: TextIO | None = None) -> None:
        self.es: TorchEggrollES = es
        self.steps: int = steps
        self.stream: TextIO = stream or sys.stderr
        self._began = time.perf_counter()
        self._done = 0

    def __call__(self, diagnostics: Diagnostics) -> None:
        """Prints the line of one step."""
        self._done += 1
        passed = time.perf_counter() - self._began
        left = int(passed / self._done * max(self.steps - self._done, 0))
        report = self.es.texts.report
        parts = [
            f"step {self._done}/{self.steps}",
            f"reward {diagnostics.fitness_mean:.3f} ± {diagnostics.fitness_std:.3f}",
            *([f"{report.tokens_per_second:,.0f} tokens/s"] if report is not None else []),
            *([f"{diagnostics.dropped} dropped"] if diagnostics.dropped else []),
            f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left",
        ]
        over = self.stream.isatty()
        end = "\r" if over and self._done < self.steps else "\n"
        print(("\x1b[2K" if over else "") + "  ".join(parts), end=end, file=self.stream, flush=True)
