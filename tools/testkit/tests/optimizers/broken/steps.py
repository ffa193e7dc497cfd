"""What a step does to gradients, closures and parameters of every kind."""

import torch

from broken.base import Broken


class DecaysTheIdle(Broken):
    """Applies weight decay where there is no gradient."""

    def step(self, closure=None):
        with torch.no_grad():
            for p in self.parameters():
                p.mul_(0.999)
        return super().step(closure)


class ClipsInPlace(Broken):
    """Writes to the gradients it reads."""

    def step(self, closure=None):
        loss = None if closure is None else torch.enable_grad()(closure)()
        for p in self.parameters():
            if p.grad is not None:
                p.grad.clamp_(-0.1, 0.1)
        super().step()
        return loss


class DropsGradients(Broken):
    """Sets every gradient to None after the step."""

    def step(self, closure=None):
        loss = super().step(closure)
        self.zero_grad()
        return loss


class CallsTheClosureTwice(Broken):
    """Evaluates the closure once for the gradient and once more for the loss."""

    def step(self, closure=None):
        loss = super().step(closure)
        return loss if closure is None else torch.enable_grad()(closure)()


class CallsTheClosureWithoutGrad(Broken):
    """Leaves gradients off where the caller has them off."""

    def step(self, closure=None):
        loss = None if closure is None else closure()
        super().step()
        return loss


class KeepsTheLoss(Broken):
    """Returns nothing from a step with a closure."""

    def step(self, closure=None):
        super().step(closure)


class StepsBeforeTheClosure(Broken):
    """Takes the step on whatever gradients are there, and calls the closure afterwards."""

    def step(self, closure=None):
        super().step()
        return None if closure is None else torch.enable_grad()(closure)()


class MakesContiguous(Broken):
    """Replaces the storage of a parameter that is not contiguous."""

    def step(self, closure=None):
        for p in self.parameters():
            p.data = p.data.contiguous()
        return super().step(closure)


class WritesInMemoryOrder(Broken):
    """Reads a gradient in the order of its indices and writes in that of the memory."""

    def step(self, closure=None):
        loss = super().step(closure)
        with torch.no_grad():
            for p in self.parameters():
                if p.grad is not None and not p.is_contiguous() and p.dim() == 2:
                    flat = torch.as_strided(p, (p.numel(),), (1,)) if p.t().is_contiguous() else p
                    flat.sub_(0.01 * (p.grad.reshape(-1) if flat is not p else p.grad))
        return loss


class MeasuresTheLargest(Broken):
    """Takes the maximum of every gradient, which an empty one does not have."""

    def step(self, closure=None):
        for p in self.parameters():
            if p.grad is not None and not p.grad.is_sparse:
                p.grad.abs().max()
        return super().step(closure)


class MakesDense(Broken):
    """Takes a sparse gradient without a word."""

    def step(self, closure=None):
        for p in self.parameters():
            if p.grad is not None and p.grad.is_sparse:
                p.grad = p.grad.to_dense()
        return super().step(closure)


class RefusesAsItGoes(Broken):
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


class RefusesWithoutAName(Broken):
    """Fails on a sparse gradient by chance."""

    def step(self, closure=None):
        for p in self.parameters():
            if p.grad is not None and p.grad.is_sparse:
                raise RuntimeError("operator is not implemented for this layout")
        return super().step(closure)


class DropsTheImaginary(Broken):
    """Follows the real part of a complex gradient."""

    def step(self, closure=None):
        for p in self.parameters():
            if p.grad is not None and p.grad.is_complex():
                p.grad.imag.zero_()
        return super().step(closure)
