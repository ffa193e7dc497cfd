"""Common random numbers: a forward pass draws the same for every member, on every engine and rank.

Members then differ only by their weights. Each evaluation draws new numbers from the seed of the run; the caller's
streams of torch, Python and NumPy do not advance.
"""

import random
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

from ..noise.counter import start

_KEY = 1 << 40  # no parameter has this position


class CommonRandomNumbers:
    """The random streams of one evaluation.

    Args:
        key: decides what is drawn, or None to leave the streams alone.
        device: of the model.
        python: whether the streams of Python and NumPy count; they take time, and few forwards draw from them.
    """

    def __init__(self, key: int | None, device: torch.device, python: bool = True) -> None:
        self._key = key
        self._python = python
        self.drawn = True  # whether the evaluation drew from the streams of Python or NumPy
        self._generators: list[torch.Generator] = [torch.default_generator]
        if device.type == "cuda":
            at = torch.zeros((), device=device).get_device()
            self._generators.append(torch.cuda.default_generators[at])

    def restart(self) -> None:
        """Begins the streams of a member."""
        if self._key is None:
            return
        for generator in self._generators:
            generator.manual_seed(self._key)
        if self._python:
            random.seed(self._key)
            numpy = _numpy_random()
            if numpy is not None:
                numpy.seed(self._key % (1 << 32))

    def now(self) -> Any:
        """Returns where the streams of torch are."""
        return [generator.get_state() for generator in self._generators]

    def resume(self, state: Any) -> None:
        """Puts the streams of torch back to where they were."""
        for generator, own in zip(self._generators, state, strict=True):
            generator.set_state(own)

    @contextmanager
    def evaluation(self) -> Generator[None, None, None]:
        """Leaves the caller's streams as they are found."""
        if self._key is None:
            yield
            return
        before = self.now()
        try:
            with self._python_streams():
                yield
        finally:
            self.resume(before)

    @contextmanager
    def _python_streams(self) -> Generator[None, None, None]:
        """Leaves the streams of Python and NumPy as they are found, and notes whether anything is drawn from them."""
        if not self._python:
            yield
            return
        numpy = _numpy_random()
        before = random.getstate(), None if numpy is None else numpy.get_state()
        try:
            self.restart()
            begun = _fingerprint(numpy)
            yield
            self.drawn = _fingerprint(numpy) != begun
        finally:
            random.setstate(before[0])
            if numpy is not None:
                numpy.set_state(before[1])


def random_key(seed: int, generation: int, evaluation: int) -> int:
    """Returns the key of an evaluation: another one for every generation, and for every evaluation within it."""
    return start(seed, generation, _KEY + evaluation) % (1 << 63)


def _fingerprint(numpy: Any) -> Any:
    """Says where the streams of Python and NumPy are."""
    state = None if numpy is None else numpy.get_state(legacy=False)["state"]
    return random.getstate(), None if state is None else (state["key"].tobytes(), state["pos"])


def _numpy_random() -> Any:
    module = sys.modules.get("numpy")
    return getattr(module, "random", None)
