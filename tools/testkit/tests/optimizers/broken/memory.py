"""What is remembered: checkpoints, copies, pickles, and random streams."""

import random
from typing import Any

import torch

from broken.base import Broken


class CountsOutsideItsState(Broken):
    """Steps by a count that no checkpoint holds."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.steps = 0

    def step(self, closure=None):
        self.steps += 1
        with torch.no_grad():
            for p in self.parameters():
                p.mul_(1 - 0.01 / self.steps)
        return super().step(closure)


class SavesWhatOnlyPickleReads(Broken):
    """Puts an object of its own into the state."""

    def step(self, closure=None):
        loss = super().step(closure)
        for p in self.parameters():
            self.state[p]["source"] = random.Random(3)
        return loss


class DrawsFromTheGlobalStream(Broken):
    """Takes a number from torch's global stream, and does nothing with it."""

    def step(self, closure=None):
        torch.rand(())
        return super().step(closure)


class DrawsFromPython(Broken):
    """Takes a number from Python's global stream when it is set up."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        random.random()


class DrawsFromNowhere(Broken):
    """Draws noise that no seed repeats."""

    def step(self, closure=None):
        with torch.no_grad():
            for p in self.parameters():
                p.add_(1e-3 * random.SystemRandom().random())
        return super().step(closure)


class CopiesToItself(Broken):
    """Is its own deep copy."""

    def __deepcopy__(self, memo):
        return self


class HoldsALambda(Broken):
    """Keeps a function that pickle cannot name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rule = lambda: None

    def __getstate__(self):
        return self.__dict__

    def __setstate__(self, state):
        self.__dict__.update(state)


class LosesItsCountInPickles(CountsOutsideItsState):
    """Comes back from a pickle with its count at nought."""

    def __setstate__(self, state):
        super().__setstate__(state)
        self.steps = 0
