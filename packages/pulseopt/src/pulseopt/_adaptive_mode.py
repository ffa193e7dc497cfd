"""What makes an optimizer run with a candidate of its own: a mode to set, noise streams, a checkpoint of both."""

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor
from torch.optim import Optimizer

from pulseopt._checks import check, check_integer
from pulseopt._distributed import fresh_seed
from pulseopt._step.candidate import Transient
from pulseopt._step.noise import NoiseSource
from pulseopt._step.update_norm import UpdateNorm, norm
from pulseopt.types import CandidateConfig

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
    """A mixin for subclasses of an optimizer: each step runs with the mode's rate and noise.

    A subclass lists its settings and their intervals in ``INTERVALS``, and calls `_set_up` once the optimizer is
    built; settings of added groups are checked as well.
    """

    INTERVALS: ClassVar[dict[str, str]]

    _ready = False
    _mode = CandidateConfig("base")

    def _set_up(self, mode: CandidateConfig | None, noise_seed: int | None, track_update_norm: bool) -> None:
        if noise_seed is not None:
            check_integer("noise_seed", noise_seed, "(-inf, inf)")
        self._track = track_update_norm
        self._moved = UpdateNorm()
        self._moves: list[Tensor] = []  # of the last step, not read yet
        self._last_norm: float | None = None
        self._noise = NoiseSource(fresh_seed() if noise_seed is None else noise_seed)
        self._transient = Transient(self, self._noise)
        self._ready = True
        if mode is not None:
            self.set_mode(mode)

    def set_mode(self, mode: CandidateConfig) -> None:
        """Run the steps to come with this candidate.

        Raises:
            TypeError: ``mode`` is no candidate.
        """
        check_mode(mode)
        self._mode = mode

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step once with the mode's rate and noise, and return the closure's loss.

        Rates and gradients are their own again when it returns or raises. With a closure the noise is added to the
        gradients that each of its calls leaves.
        """
        if self._track:
            params = [p for group in self.param_groups for p in group["params"]]
            self._moved.begin([p for p in params if closure is not None or p.grad is not None])
        closure = self._transient.apply(self._mode, closure)
        try:
            loss = self._plain_step(closure)
        except BaseException:
            self._transient.undo(failed=True)
            raise
        self._transient.undo()
        if self._track:
            moves = self._moved.squared_moves()
            self._moves, self._last_norm = moves, None if moves else 0.0
        return loss

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; what it overrides is checked like the defaults.

        Raises:
            ValueError: a setting lies outside its interval; no group has been added.
        """
        self.check_settings({**self.defaults, **param_group})
        super().add_param_group(param_group)

    @classmethod
    def check_settings(cls, settings: dict[str, Any]) -> None:
        """Refuse settings outside their intervals."""
        for name, interval in cls.INTERVALS.items():
            values = settings[name] if isinstance(settings[name], tuple | list) else (settings[name],)
            for place, value in enumerate(values):
                check(f"{name}[{place}]" if len(values) > 1 else name, value, interval)

    def compute_update_norm(self) -> float | None:
        """Return how far the last step moved the parameters (L2, over all of them); None before the first step.

        The step itself waits for nothing; this call reads the device once.
        """
        if self._moves:
            self._last_norm, self._moves = norm(self._moves), []
        return self._last_norm

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's state with the mode, the rates and decays, the noise streams and the update norm.

        Several names for one thing are release 0.1.0's.
        """
        mode = {"name": self._mode.name, "lr_multiplier": self._mode.lr_multiplier, "noise_std": self._mode.noise_std}
        rates = [float(group["lr"]) for group in self.param_groups]
        decays = [float(group["weight_decay"]) for group in self.param_groups]
        extra = (mode, dict(mode), rates, list(rates), decays, list(decays))
        streams = (self._noise.seed, self._noise.states(), self.compute_update_norm())
        return {**super().state_dict(), **dict(zip(_EXTRA, (*extra, *streams), strict=True))}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the saved optimizer stood; a plain optimizer's state is fine too, and so is release 0.1.0's.

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
        self._moves, self._last_norm = [], state_dict.get("last_update_norm")

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles keep the mode and the noise streams."""
        extra = {
            "_mode": self._mode,
            "_noise": self._noise,
            "_track": self._track,
            "_ready": True,
            "_moved": self._moved,
        }
        return {**super().__getstate__(), **extra, "_moves": [], "_last_norm": self.compute_update_norm()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the parts over."""
        super().__setstate__(state)
        if self._ready:
            self._transient = Transient(self, self._noise)

    def __repr__(self) -> str:
        """Show the groups, the mode, the noise's seed and whether the norm is measured."""
        own = {"mode": self._mode, "noise_seed": self._noise.seed, "track_update_norm": self._track}
        return f"{super().__repr__()[:-1]}    " + "\n    ".join(f"{k}: {v}" for k, v in own.items()) + "\n)"

    def _plain_step(self, closure: Callable[[], Any] | None) -> Any:
        """Run the step of the optimizer this class is mixed into, without running the hooks a second time."""
        step: Any = super().step  # the next class's: AdamW, SGD
        if getattr(step, "hooked", False):  # torch hooks the class's step once such an optimizer has been built
            return step.__func__.__wrapped__(self, closure)
        return step(closure)


def check_mode(mode: object) -> None:
    """Refuse what is no candidate.

    Raises:
        TypeError: ``mode`` is none.
    """
    if not isinstance(mode, CandidateConfig):
        raise TypeError("mode must be a CandidateConfig or ExplorationMode.")


def _candidate(mode: dict[str, Any]) -> CandidateConfig:
    noise = mode.get("noise_std", mode.get("grad_noise_std", 0.0))
    return CandidateConfig(str(mode["name"]), float(mode["lr_multiplier"]), float(noise))
