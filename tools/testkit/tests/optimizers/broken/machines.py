"""What happens on machines: fast paths, devices, scalers, replicas."""

import math

import torch

from broken.base import Broken


class DecaysOnTheFastPath(Broken):
    """Applies weight decay twice where it works on lists."""

    def step(self, closure=None):
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"] if group["foreach"] else ():
                    p.mul_(1 - group["lr"] * group["weight_decay"])
        return super().step(closure)


class PeeksAtTheNorm(Broken):
    """Reads the norm of each parameter off the device."""

    def step(self, closure=None):
        for p in self.parameters():
            if not math.isfinite(p.detach().double().norm()):
                raise RuntimeError("a parameter is not finite")
        return super().step(closure)


class BranchesOnATensor(Broken):
    """Chooses by whether a gradient, turned into a list, has a zero."""

    def step(self, closure=None):
        for p in self.parameters():
            if p.grad is not None and not p.grad.is_sparse and 0.0 in p.grad.reshape(-1).tolist():
                break
        return super().step(closure)


class TrustsTheScaler(Broken):
    """Says that it looks at ``found_inf`` itself, and does not."""

    _step_supports_amp_scaling = True


class DrawsItsOwnPerRank(Broken):
    """Seeds its noise with the seed of its process."""

    def step(self, closure=None):
        generator = torch.Generator().manual_seed(torch.initial_seed())
        with torch.no_grad():
            for p in self.parameters():
                p.add_(1e-3 * torch.randn(p.shape, generator=generator).to(p))
        return super().step(closure)


class FailsOnOneRank(Broken):
    """Raises on the second rank."""

    def step(self, closure=None):
        if torch.distributed.is_initialized() and torch.distributed.get_rank() == 1:
            raise RuntimeError("rank 1 is out of memory")
        return super().step(closure)
