"""One optimizer broken on purpose for each promise: sound but for the one thing that its docstring confesses."""

import math
import random
from typing import Any

import torch
from torch.optim import AdamW


class _Broken(AdamW):
    def parameters(self) -> list[torch.Tensor]:
        return [p for group in self.param_groups for p in group["params"]]


class CountsOutsideItsState(_Broken):
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


class SavesWhatOnlyPickleReads(_Broken):
    """Puts an object of its own into the state."""

    def step(self, closure=None):
        loss = super().step(closure)
        for p in self.parameters():
            self.state[p]["source"] = random.Random(3)
        return loss


class DrawsFromTheGlobalStream(_Broken):
    """Takes a number from torch's global stream, and does nothing with it."""

    def step(self, closure=None):
        torch.rand(())
        return super().step(closure)


class DrawsFromPython(_Broken):
    """Takes a number from Python's global stream when it is set up."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        random.random()


class DrawsFromNowhere(_Broken):
    """Draws noise that no seed repeats."""

    def step(self, closure=None):
        with torch.no_grad():
            for p in self.parameters():
                p.add_(1e-3 * random.SystemRandom().random())
        return super().step(closure)


class CopiesToItself(_Broken):
    """Is its own deep copy."""

    def __deepcopy__(self, memo):
        return self


class DecaysTheIdle(_Broken):
    """Applies weight decay where there is no gradient."""

    def step(self, closure=None):
        with torch.no_grad():
            for p in self.parameters():
                p.mul_(0.999)
        return super().step(closure)


class ClipsInPlace(_Broken):
    """Writes to the gradients it reads."""

    def step(self, closure=None):
        loss = None if closure is None else torch.enable_grad()(closure)()
        for p in self.parameters():
            if p.grad is not None:
                p.grad.clamp_(-0.1, 0.1)
        super().step()
        return loss


class DropsGradients(_Broken):
    """Sets every gradient to None after the step."""

    def step(self, closure=None):
        loss = super().step(closure)
        self.zero_grad()
        return loss


class CallsTheClosureTwice(_Broken):
    """Evaluates the closure once for the gradient and once more for the loss."""

    def step(self, closure=None):
        loss = super().step(closure)
        return loss if closure is None else torch.enable_grad()(closure)()


class CallsTheClosureWithoutGrad(_Broken):
    """Leaves gradients off where the caller has them off."""

    def step(self, closure=None):
        loss = None if closure is None else closure()
        super().step()
        return loss


class KeepsTheLoss(_Broken):
    """Returns nothing from a step with a closure."""

    def step(self, closure=None):
        super().step(closure)


class StepsBeforeTheClosure(_Broken):
    """Takes the step on whatever gradients are there, and calls the closure afterwards."""

    def step(self, closure=None):
        super().step()
        return None if closure is None else torch.enable_grad()(closure)()


class UsesItsDefaults(_Broken):
    """Takes the learning rate of every group from the defaults."""

    def step(self, closure=None):
        rates = [group["lr"] for group in self.param_groups]
        for group in self.param_groups:
            group["lr"] = self.defaults["lr"]
        loss = super().step(closure)
        for group, rate in zip(self.param_groups, rates, strict=True):
            group["lr"] = rate
        return loss


class ReadsTheGroupsOnce(_Broken):
    """Remembers each group's learning rate from when it was set up."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rates = [group["lr"] for group in self.param_groups]

    def step(self, closure=None):
        current = [group["lr"] for group in self.param_groups]
        for group, rate in zip(self.param_groups, self.rates, strict=False):
            group["lr"] = rate
        loss = super().step(closure)
        for group, rate in zip(self.param_groups, current, strict=True):
            group["lr"] = rate
        return loss


class ForgetsNewcomers(_Broken):
    """Trains the groups it was born with."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.born_with = list(self.param_groups)

    def step(self, closure=None):
        groups, self.param_groups = self.param_groups, self.born_with
        try:
            return super().step(closure)
        finally:
            self.param_groups = groups


class StartsOverForNewcomers(_Broken):
    """Throws the state of all away when a group is added."""

    def add_param_group(self, param_group):
        self.state.clear()
        super().add_param_group(param_group)


class MakesContiguous(_Broken):
    """Replaces the storage of a parameter that is not contiguous."""

    def step(self, closure=None):
        for p in self.parameters():
            p.data = p.data.contiguous()
        return super().step(closure)


class WritesInMemoryOrder(_Broken):
    """Reads a gradient in the order of its indices and writes in that of the memory."""

    def step(self, closure=None):
        loss = super().step(closure)
        with torch.no_grad():
            for p in self.parameters():
                if p.grad is not None and not p.is_contiguous() and p.dim() == 2:
                    flat = torch.as_strided(p, (p.numel(),), (1,)) if p.t().is_contiguous() else p
                    flat.sub_(0.01 * (p.grad.reshape(-1) if flat is not p else p.grad))
        return loss


class MeasuresTheLargest(_Broken):
    """Takes the maximum of every gradient, which an empty one does not have."""

    def step(self, closure=None):
        for p in self.parameters():
            if p.grad is not None and not p.grad.is_sparse:
                p.grad.abs().max()
        return super().step(closure)


class MakesDense(_Broken):
    """Takes a sparse gradient without a word."""

    def step(self, closure=None):
        for p in self.parameters():
            if p.grad is not None and p.grad.is_sparse:
                p.grad = p.grad.to_dense()
        return super().step(closure)


class RefusesAsItGoes(_Broken):
    """Moves the parameters that come before the sparse gradient it refuses."""

    def step(self, closure=None):
        loss = None if closure is None else torch.enable_grad()(closure)()
        groups = self.param_groups
        try:
            for group in groups:
                for p in group["params"]:
                    self.param_groups = [{**group, "params": [p]}]
                    super().step()
        finally:
            self.param_groups = groups
        return loss


class RefusesWithoutAName(_Broken):
    """Fails on a sparse gradient by chance."""

    def step(self, closure=None):
        for p in self.parameters():
            if p.grad is not None and p.grad.is_sparse:
                raise RuntimeError("operator is not implemented for this layout")
        return super().step(closure)


class DropsTheImaginary(_Broken):
    """Follows the real part of a complex gradient."""

    def step(self, closure=None):
        for p in self.parameters():
            if p.grad is not None and p.grad.is_complex():
                p.grad.imag.zero_()
        return super().step(closure)


class RestoresItsRate(_Broken):
    """Puts the learning rate of its first step back after each step, whatever a scheduler says."""

    def step(self, closure=None):
        loss = super().step(closure)
        for group in self.param_groups:
            group["lr"] = group.setdefault("first_lr", group["lr"])
        return loss


class TurnsTensorsToFloats(_Broken):
    """Replaces a tensor learning rate by its value."""

    def step(self, closure=None):
        for group in self.param_groups:
            group["lr"] = float(group["lr"])
        return super().step(closure)


class CachesTheTensor(_Broken):
    """Runs a tensor learning rate at its first value, though it stays in the group."""

    def step(self, closure=None):
        kept = [group["lr"] for group in self.param_groups]
        for group in self.param_groups:
            if isinstance(group["lr"], torch.Tensor):
                group["lr"] = group.setdefault("first_lr", float(group["lr"]))
        try:
            return super().step(closure)
        finally:
            for group, rate in zip(self.param_groups, kept, strict=True):
                group["lr"] = rate


class LeavesTheRateBehind(_Broken):
    """Doubles the learning rate for the step, and does not clean up when the step fails."""

    def step(self, closure=None):
        for group in self.param_groups:
            group["lr"] = 2 * group["lr"]
        loss = super().step(closure)
        for group in self.param_groups:
            group["lr"] = group["lr"] / 2
        return loss


class SwallowsErrors(_Broken):
    """Goes on when the closure fails."""

    def step(self, closure=None):
        try:
            return super().step(closure)
        except Exception:
            return None


class HoldsALambda(_Broken):
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


class ChecksDefaultsOnly(_Broken):
    """Refuses a bad learning rate as the default, and takes it from a group."""

    def __init__(self, params, lr=1e-3, **kwargs: Any) -> None:
        if not 0 <= lr < math.inf:
            raise ValueError(f"lr must be in [0, inf), got {lr}")
        super().__init__(params, lr=lr, **kwargs)


class RefusesZero(_Broken):
    """Refuses a learning rate of nought, which is documented as fine."""

    def add_param_group(self, param_group):
        rate = {**self.defaults, **param_group}["lr"]
        if not 0 < rate < math.inf:
            raise ValueError(f"lr must be in (0, inf), got {rate}")
        super().add_param_group(param_group)


class AddsThenChecks(_Broken):
    """Refuses a bad group when it is in already."""

    def add_param_group(self, param_group):
        super().add_param_group(param_group)
        if not 0 <= self.param_groups[-1]["lr"] < math.inf:
            raise ValueError(f"lr must be in [0, inf), got {self.param_groups[-1]['lr']}")


class RefusesWithoutTheName(_Broken):
    """Does not say which setting is wrong."""

    def add_param_group(self, param_group):
        if not 0 <= {**self.defaults, **param_group}["lr"] < math.inf:
            raise ValueError("bad value")
        super().add_param_group(param_group)


class DecaysOnTheFastPath(_Broken):
    """Applies weight decay twice where it works on lists."""

    def step(self, closure=None):
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"] if group["foreach"] else ():
                    p.mul_(1 - group["lr"] * group["weight_decay"])
        return super().step(closure)


class PeeksAtTheNorm(_Broken):
    """Reads the norm of each parameter off the device."""

    def step(self, closure=None):
        for p in self.parameters():
            if not math.isfinite(p.detach().double().norm()):
                raise RuntimeError("a parameter is not finite")
        return super().step(closure)


class BranchesOnATensor(_Broken):
    """Chooses by whether a gradient, turned into a list, has a zero."""

    def step(self, closure=None):
        for p in self.parameters():
            if p.grad is not None and not p.grad.is_sparse and 0.0 in p.grad.reshape(-1).tolist():
                break
        return super().step(closure)


class SaysItsName(_Broken):
    """Shows no setting."""

    def __repr__(self):
        return type(self).__name__


class ShowsItsDefaults(_Broken):
    """Shows the settings it was set up with, not those in force."""

    def __repr__(self):
        return f"ShowsItsDefaults({self.defaults})"


class TrustsTheScaler(_Broken):
    """Says that it looks at ``found_inf`` itself, and does not."""

    _step_supports_amp_scaling = True


class DrawsItsOwnPerRank(_Broken):
    """Seeds its noise with the seed of its process."""

    def step(self, closure=None):
        generator = torch.Generator().manual_seed(torch.initial_seed())
        with torch.no_grad():
            for p in self.parameters():
                p.add_(1e-3 * torch.randn(p.shape, generator=generator).to(p))
        return super().step(closure)


class FailsOnOneRank(_Broken):
    """Raises on the second rank."""

    def step(self, closure=None):
        if torch.distributed.is_initialized() and torch.distributed.get_rank() == 1:
            raise RuntimeError("rank 1 is out of memory")
        return super().step(closure)
