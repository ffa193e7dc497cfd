"""Statistics of a stream of losses or rewards, independent of its unit.

For the n-th finite value L, with b = 0.9 and δ = 1e-4 unless set otherwise:

    E ← b E + (1-b) L,  E₁ = L                            (1)  moving average
    D ← D + max(1-b, 1/n) (|L - E₋| - D)                  (2)  mean absolute deviation; E₋ is E before (1)
    S = max(|E₋|, D, 1e-12);  g = (E₋ - E)/S              (3)  relative improvement
    up if g > δ, down if g < -δ, else flat                (4)  verdict; the first value is flat
    cv² = Var/S², at most 100                             (5)  Var ← b (Var + (1-b) (L - E₋)²)

S follows the level of the values, or their spread where the level is near zero, so (3) is defined for negative values
and for values that cross zero. For rewards larger is better: g changes its sign. We carry √Var and form it with
``hypot``, and count a value beyond ±1e300 as 1e300: no finite input overflows. Averages
move by (1-b) (L - E), the same number, and one that equal values leave to the bit.

Source: the adaptive-optimizer method, equations 1-5; the variance is West's incremental one (Finch 2009, eq. 143).
"""

from math import hypot, sqrt

LARGEST = 1e300
SMALLEST_SCALE = 1e-12
LARGEST_CV2 = 100.0
SLOW = 0.99  # the b of the reward's centre, equation (17) of ``rules``


class Statistics:
    """Running statistics of one stream; all state is in plain numbers."""

    __slots__ = ("__dict__", "_constants")  # so that ``vars`` holds the running numbers and nothing else

    def __init__(self, beta: float, delta: float, *, larger_is_better: bool) -> None:
        self._constants = (beta, 1 - beta, delta, -1.0 if larger_is_better else 1.0, sqrt(beta), sqrt(1 - beta))
        self.n: int = 0
        self.average: float = 0.0
        self.deviation: float = 0.0
        self.sd: float = 0.0
        self.cv2: float = 0.0
        self.verdict = 0
        self.first: float = 0.0
        self.latest: float = 0.0
        self.mean_abs: float = 0.0  # moving average of |L|, the newest not yet in it

    def update(self, value: float) -> None:
        """Records one finite value."""
        value = -LARGEST if value < -LARGEST else LARGEST if value > LARGEST else value
        self.n = n = self.n + 1
        if n == 1:
            self.average = self.first = self.latest = value  # (1)
            self.mean_abs = abs(value)
            return
        b, gap, delta, sign, root_b, root_gap = self._constants
        before, deviation = self.average, self.deviation
        difference = value - before
        self.average = average = before + gap * difference  # (1)
        deviation += max(gap, 1 / n) * (abs(difference) - deviation)  # (2)
        self.deviation = deviation
        scale = max(abs(before), deviation, SMALLEST_SCALE)  # (3)
        gain = sign * (before - average) / scale  # (3)
        self.verdict = 1 if gain > delta else -1 if gain < -delta else 0  # (4)
        self.sd = sd = root_b * hypot(self.sd, root_gap * difference)  # (5)
        cv2 = (sd / scale) * (sd / scale)
        self.cv2 = cv2 if cv2 < LARGEST_CV2 else LARGEST_CV2  # (5)
        if n > 2:
            self.mean_abs = b * self.mean_abs + gap * abs(self.latest)
        self.latest = value

    def reference(self, center: float | None, span: float | None) -> tuple[float, float]:
        """Returns c and s of equation (16) for a rule that compares values with them; losses have none."""
        return 0.0, 1.0

    def state_dict(self) -> dict[str, float]:
        """Returns the running numbers, without the settings."""
        state = vars(self).copy()
        state["typical"] = state.pop("mean_abs")  # its name in checkpoints since 0.1.0
        return state

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continues from ``state``, as ``state_dict`` returned it."""
        for name in self.state_dict():
            setattr(self, "mean_abs" if name == "typical" else name, state[name])


class RewardStatistics(Statistics):
    """The same for rewards, with the slow centre and spread that ``scaling`` compares with."""

    def __init__(self, beta: float, delta: float) -> None:
        super().__init__(beta, delta, larger_is_better=True)
        self.center = 0.0
        self.spread = 0.0

    def update(self, value: float) -> None:
        """Records one finite reward."""
        super().update(value)
        value = self.latest
        if self.n == 1:
            self.center = value
            return
        self.spread += max(1 - SLOW, 1 / self.n) * (abs(value - self.center) - self.spread)
        self.center += (1 - SLOW) * (value - self.center)

    def reference(self, center: float | None, span: float | None) -> tuple[float, float]:
        """Returns c and s of equation (16): as given, or following the rewards."""
        return (
            self.center if center is None else center,
            max(4 * self.spread, SMALLEST_SCALE) if span is None else span,  # (17)
        )
