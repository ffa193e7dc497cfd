"""Application of a candidate's rate and noise to an optimizer, for one step."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from pulseopt._step.noise import NoiseSource
from pulseopt.types import CandidateConfig


class TemporaryCandidate:
    """Multiplies the learning rates and adds noise to the gradients, and undoes both.

    A tensor learning rate is filled in place. A noisy gradient replaces the clean one, which is put back: with noise,
    a step needs memory for one more set of gradients.

    Args:
        optimizer: anything with ``param_groups``.
        noise: where the noise comes from.
    """

    def __init__(self, optimizer: Optimizer, noise: NoiseSource) -> None:
        self._optimizer = optimizer
        self._noise = noise
        self._float_rates: list[tuple[dict[str, Any], Any]] = []
        self._tensor_rates: list[tuple[Tensor, Tensor]] = []
        self._clean: list[tuple[Tensor, Tensor]] = []
        self._streams: dict[str, Tensor] | None = None  # as they stood before this step's noise

    def apply(self, candidate: CandidateConfig, closure: Callable[[], Any] | None = None) -> Callable[[], Any] | None:
        """Applies the candidate and returns the closure to step with.

        With a closure, noise is added to the gradients that each call leaves, the same noise within one step.
        """
        self.undo()
        try:
            if candidate.lr_multiplier != 1.0:
                self._scale_rates(candidate.lr_multiplier)
            if candidate.noise_std > 0.0:
                self._streams = self._noise.states()
                if closure is None:
                    self._add_noise(candidate.noise_std)
        except BaseException:
            self.undo(failed=True)
            raise
        return closure and self._wrapped(closure, candidate.noise_std)

    def undo(self, failed: bool = False) -> None:
        """Restores rates and gradients; after a failed step the noise streams too."""
        for group, rate in self._float_rates:
            group["lr"] = rate
        for rate, base in self._tensor_rates:
            rate.copy_(base)
        self._put_back_gradients()
        if failed and self._streams is not None:
            self._noise.load(self._noise.seed, self._streams)
        self._float_rates, self._tensor_rates, self._streams = [], [], None

    def _scale_rates(self, factor: float) -> None:
        seen: set[int] = set()
        for group in self._optimizer.param_groups:
            rate = group["lr"]
            if rate is None:  # the optimizer finds its own
                continue
            if not isinstance(rate, Tensor):
                self._float_rates.append((group, rate))
                group["lr"] = float(rate) * factor
            elif id(rate) not in seen:  # torch gives every group the same tensor
                seen.add(id(rate))
                self._tensor_rates.append((rate, rate.detach().clone()))
                rate.mul_(factor)

    def _add_noise(self, std: float) -> None:
        scale = getattr(self._optimizer, "grad_scale", None)  # a fused optimizer under a GradScaler unscales by itself
        places = {
            param: (j, i)
            for j, group in enumerate(self._optimizer.param_groups)
            for i, param in enumerate(group["params"])
            if param.grad is not None
        }
        grads = [param.grad for param in places]
        noisy = self._noise.noisy_all(grads, list(places.values()), std, scale)
        for param, grad, replacement in zip(places, grads, noisy, strict=True):
            self._clean.append((param, grad))
            param.grad = replacement

    def _put_back_gradients(self) -> None:
        for param, grad in self._clean:
            param.grad = grad
        self._clean = []

    def _wrapped(self, closure: Callable[[], Any], std: float) -> Callable[[], Any]:
        def noisy_closure() -> Any:
            self._put_back_gradients()
            try:
                loss = closure()
                if self._streams is not None:
                    self._noise.load(self._noise.seed, self._streams)
                    self._add_noise(std)
            except BaseException:
                self.undo(failed=True)
                raise
            return loss

        return noisy_closure
