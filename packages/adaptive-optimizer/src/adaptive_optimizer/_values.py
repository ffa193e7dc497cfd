"""The effective values, by the names people print: ``f"{opt.lr:.6e}"``."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adaptive_optimizer._controller import Controller
    from adaptive_optimizer._groups import Actuator


class Values:
    """Properties of ``AdaptiveOptimizer``: the value last used, or None where the optimizer has no such knob.

    Between ``step_loss`` and ``step`` it is the value about to be used. An lr that is a tensor is read from its device.
    """

    _actuator: "Actuator"
    _controller: "Controller"

    @property
    def lr(self) -> float:
        """Learning rate of group 0."""
        return self.lrs[0]

    @property
    def wd(self) -> float:
        """Weight decay of group 0."""
        return self.wds[0]

    @property
    def momentum(self) -> float | None:
        """Momentum of group 0, wherever the optimizer keeps it."""
        return self.momentums[0]

    @property
    def betas(self) -> tuple[float, ...] | None:
        """Betas of group 0, where they are betas."""
        return self.all_betas[0]

    @property
    def alpha(self) -> float | None:
        """RMSprop's smoothing constant of group 0."""
        return self.alphas[0]

    @property
    def lrs(self) -> list[float]:
        """Learning rate of each group."""
        return self._actuator.effective("lr")

    @property
    def wds(self) -> list[float]:
        """Weight decay of each group."""
        return self._actuator.effective("wd")

    @property
    def momentums(self) -> list[float | None]:
        """Momentum of each group."""
        return self._actuator.effective("momentum")

    @property
    def all_betas(self) -> list[tuple[float, ...] | None]:
        """Betas of each group."""
        return self._actuator.effective_betas()

    @property
    def alphas(self) -> list[float | None]:
        """RMSprop's smoothing constant of each group."""
        return self._actuator.effective("alpha")

    @property
    def base_lrs(self) -> list[float]:
        """The user's or the scheduler's learning rate of each group, without any factor."""
        return self._actuator.base("lr")

    @property
    def factors(self) -> dict[str, float]:
        """The factors in use, 1 where no rule moves them.

        M trend, V variance, C cosines, R rewards, N weight decay; H, H_beta1, H_beta2 and H_alpha scale the horizons
        1/(1-μ); ``lr`` is what multiplies every base lr. A rule of your own has its name.
        """
        return self._controller.factors()

    @property
    def nonfinite_losses(self) -> int:
        """How many losses were not finite."""
        return self._controller.nonfinite_losses

    @property
    def nonfinite_rewards(self) -> int:
        """How many rewards were not finite."""
        return self._controller.nonfinite_rewards
