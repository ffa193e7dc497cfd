"""AdamW and SGD whose candidate you set yourself; `AEES` chooses candidates, around any optimizer."""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any, ClassVar

import torch
from torch.optim import Optimizer

from pulseopt._checks import check, check_integer
from pulseopt._distributed import fresh_seed
from pulseopt._step.noise import NoiseSource
from pulseopt._step.optimizer_step import OptimizerStep
from pulseopt._step.update_norm import UpdateNorm
from pulseopt.types import CandidateConfig

__all__ = ["AdaptiveModeAdamW", "AdaptiveModeSGD"]

Params = Iterable[torch.nn.Parameter] | Iterable[dict[str, Any]]
_EXTRA = (
    "candidate_config",
    "mode",
    "scheduled_base_lrs",
    "base_lrs",
    "scheduled_base_weight_decays",
    "base_weight_decays",
    "noise_seed",
    "noise_generator_states",
    "last_update_norm",
)


class AdaptiveMode(Optimizer):
    """The base of the two optimizers: a mode, noise streams, and a checkpoint of both.

    A subclass lists its settings and their intervals in ``INTERVALS``, and calls `_set_up` after the constructor of its
    optimizer; settings of added groups are checked too.
    """

    INTERVALS: ClassVar[dict[str, str]]

    _ready = False
    _mode = CandidateConfig("base")

    def _set_up(self, mode: CandidateConfig | None, noise_seed: int | None, track_update_norm: bool) -> None:
        if noise_seed is not None:
            check_integer("noise_seed", noise_seed, "(-inf, inf)")
        self._noise = NoiseSource(fresh_seed() if noise_seed is None else noise_seed)
        self._moved = UpdateNorm() if track_update_norm else None
        self._run = OptimizerStep(self, self._noise, self._moved)
        self._ready = True
        self.set_mode(mode)

    def set_mode(self, mode: CandidateConfig | None) -> None:
        """Sets the candidate of the following steps.

        Args:
            mode: the candidate; None for the optimizer alone.

        Raises:
            TypeError: ``mode`` is not a candidate.
        """
        _check_mode(mode)
        self._mode = CandidateConfig("base") if mode is None else mode

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Steps once with the rate and the noise of the mode.

        Rates and gradients are restored afterwards, also if the step raises.

        Args:
            closure: evaluates the model again and returns the loss; noise is added to the gradients of each call.

        Returns:
            The loss of the closure, or None without one.
        """
        closure = self._run.begin(self._mode, closure)
        try:
            loss = self._plain_step(closure)
        except BaseException:
            self._run.end(failed=True)
            raise
        self._run.end()
        return loss

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a parameter group; its settings are checked like the defaults.

        Args:
            param_group: ``"params"``, and the settings that differ from the defaults.

        Raises:
            ValueError: a setting lies outside its interval; no group has been added.
        """
        settings = {**self.defaults, **param_group}
        for name, interval in self.INTERVALS.items():
            values = settings[name] if isinstance(settings[name], tuple | list) else (settings[name],)
            for index, value in enumerate(values):
                check(f"{name}[{index}]" if len(values) > 1 else name, value, interval)
        super().add_param_group(param_group)

    def compute_update_norm(self) -> float | None:
        """Returns the L2 norm of the last update over all parameters, or None before the first step.

        The step itself does not wait for the device; this call reads it once.
        """
        return None if self._moved is None else self._moved.read()

    def state_dict(self) -> dict[str, Any]:
        """Returns the optimizer's state with the mode, the rates and decays, the noise streams and the update norm.

        Some values have two keys, as in release 0.1.0.
        """
        mode = asdict(self._mode)
        rates = [float(group["lr"]) for group in self.param_groups]
        decays = [float(group["weight_decay"]) for group in self.param_groups]
        extra = (mode, dict(mode), rates, list(rates), decays, list(decays))
        streams = (self._noise.seed, self._noise.states(), self.compute_update_norm())
        return {**super().state_dict(), **dict(zip(_EXTRA, (*extra, *streams), strict=True))}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resumes from a saved state.

        Args:
            state_dict: that of this class, of release 0.1.0, or of the plain optimizer.

        Raises:
            ValueError: groups or the lists for them do not match; nothing has been changed.
        """
        for name in _EXTRA[2:6]:
            if name in state_dict and len(state_dict[name]) != len(self.param_groups):
                raise ValueError(f"{name} length does not match optimizer param_groups.")
        mode = state_dict.get("candidate_config", state_dict.get("mode"))
        candidate = CandidateConfig("base") if mode is None else _candidate(mode)
        super().load_state_dict({name: value for name, value in state_dict.items() if name not in _EXTRA})
        seed = state_dict.get("noise_seed")
        self._noise.load(fresh_seed() if seed is None else seed, state_dict.get("noise_generator_states", {}))
        self._mode = candidate
        if self._moved is not None:
            self._moved.load(state_dict.get("last_update_norm"))

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles keep the mode and the noise streams."""
        return {
            **super().__getstate__(),
            **{name: self.__dict__[name] for name in ("_mode", "_noise", "_moved") if name in self.__dict__},
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores the parts."""
        super().__setstate__(state)
        if "_noise" in state:
            self._run, self._ready = OptimizerStep(self, self._noise, self._moved), True

    def __repr__(self) -> str:
        """Shows the groups, the mode, the noise's seed and whether the norm is measured."""
        shown = {"mode": self._mode, "noise_seed": self._noise.seed, "track_update_norm": self._moved is not None}
        return f"{super().__repr__()[:-1]}    " + "\n    ".join(f"{k}: {v}" for k, v in shown.items()) + "\n)"

    def _plain_step(self, closure: Callable[[], Any] | None) -> Any:
        """Runs the step of the torch optimizer, without running its hooks a second time."""
        step: Any = super().step  # the next class's: AdamW, SGD
        if getattr(step, "hooked", False):  # torch hooks the class's step once such an optimizer has been built
            return step.__func__.__wrapped__(self, closure)
        return step(closure)


class AdaptiveModeAdamW(AdaptiveMode, torch.optim.AdamW):
    """AdamW whose steps run with the rate and the noise of a mode.

    Args:
        params: parameters, or groups of them.
        lr: learning rate, above 0 and finite; a tensor stays one.
        weight_decay: decoupled decay, at least 0.
        betas: the two decays of the moments, each in [0, 1).
        eps: added to the denominator, above 0 and finite.
        amsgrad: keep the largest second moment.
        mode: the candidate to run with; None changes nothing.
        noise_seed: seed of the noise; None draws fresh entropy, which the state records.
        track_update_norm: measure the norm of each update, for `compute_update_norm`; costs one copy of the parameters.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: a setting lies outside its interval, in the defaults or in a group.

    Source: Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101

    >>> import torch
    >>> from pulseopt import AdaptiveModeAdamW, CandidateConfig
    >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = AdaptiveModeAdamW([weight], lr=0.1, mode=CandidateConfig("double", lr_multiplier=2.0))
    >>> weight.grad = torch.ones(1)
    >>> _ = optimizer.step()
    >>> round(weight.item(), 4), optimizer.param_groups[0]["lr"]
    (0.8, 0.1)
    """

    INTERVALS: ClassVar = {
        "lr": "(0, inf)",
        "weight_decay": "[0, inf)",
        "betas": "[0, 1)",
        "eps": "(0, inf)",
    }

    def __init__(
        self,
        params: Params,
        lr: float,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        amsgrad: bool = False,
        mode: CandidateConfig | None = None,
        noise_seed: int | None = None,
        *,
        track_update_norm: bool = True,
    ) -> None:
        _check_rate("lr", lr)
        _check_rate("eps", eps)
        for place, beta in enumerate(betas):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {place}: {beta}; betas must lie in [0, 1)")
        _check_mode(mode)
        torch.optim.AdamW.__init__(
            self, params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad
        )
        self._set_up(mode, noise_seed, track_update_norm)


class AdaptiveModeSGD(AdaptiveMode, torch.optim.SGD):
    """SGD whose steps run with the rate and the noise of a mode.

    Args:
        params: parameters, or groups of them.
        lr: learning rate, above 0 and finite; a tensor stays one.
        momentum: at least 0 and finite.
        weight_decay: at least 0 and finite, added to the gradient.
        dampening: dampening of the momentum, at least 0 and finite.
        nesterov: use Nesterov momentum; needs momentum and no dampening.
        mode: the candidate to run with; None changes nothing.
        noise_seed: seed of the noise; None draws fresh entropy, which the state records.
        track_update_norm: measure the norm of each update, for `compute_update_norm`; costs one copy of the parameters.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: a setting lies outside its interval, in the defaults or in a group.

    >>> import torch
    >>> from pulseopt import AdaptiveModeSGD, CandidateConfig
    >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = AdaptiveModeSGD([weight], lr=0.1, mode=CandidateConfig("double", lr_multiplier=2.0))
    >>> weight.grad = torch.ones(1)
    >>> _ = optimizer.step()
    >>> round(weight.item(), 4), optimizer.param_groups[0]["lr"]
    (0.8, 0.1)
    """

    INTERVALS: ClassVar = {
        "lr": "(0, inf)",
        "momentum": "[0, inf)",
        "weight_decay": "[0, inf)",
        "dampening": "[0, inf)",
    }

    def __init__(
        self,
        params: Params,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
        mode: CandidateConfig | None = None,
        noise_seed: int | None = None,
        *,
        track_update_norm: bool = True,
    ) -> None:
        _check_rate("lr", lr)
        for name, value in (("momentum", momentum), ("dampening", dampening)):
            if value < 0.0:
                raise ValueError(f"{name} must be non-negative.")
        _check_mode(mode)
        torch.optim.SGD.__init__(
            self,
            params,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
        )
        self._set_up(mode, noise_seed, track_update_norm)


def _check_rate(name: str, value: float) -> None:
    """Rejects what is not a rate, in the words of release 0.1.0."""
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite.")
    if value <= 0.0:
        raise ValueError(f"{name} must be positive.")


def _check_mode(mode: object) -> None:
    """Rejects what is not a candidate.

    Raises:
        TypeError: ``mode`` is not a candidate.
    """
    if mode is not None and not isinstance(mode, CandidateConfig):
        raise TypeError("mode must be a CandidateConfig or ExplorationMode.")


def _candidate(mode: dict[str, Any]) -> CandidateConfig:
    noise = mode.get("noise_std", mode.get("grad_noise_std", 0.0))
    return CandidateConfig(str(mode["name"]), float(mode["lr_multiplier"]), float(noise))
