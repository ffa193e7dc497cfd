"""What a notebook shows of a run: its present numbers, and its fitness over generations as a picture."""

import html
from collections import deque
from collections.abc import Mapping, Sequence

from .diagnostics import Diagnostics

_WIDTH, _HEIGHT, _EDGE = 560, 200, 8
_KEPT = 2000  # generations


class History:
    """The mean and the best fitness of the last generations."""

    def __init__(self) -> None:
        self.epochs: deque[int] = deque(maxlen=_KEPT)
        self.means: deque[float] = deque(maxlen=_KEPT)
        self.maxima: deque[float] = deque(maxlen=_KEPT)

    def add(self, seen: Diagnostics) -> None:
        """Takes a generation in; a resumed run may begin anew at an earlier one."""
        while self.epochs and self.epochs[-1] >= seen.epoch:
            for column in (self.epochs, self.means, self.maxima):
                column.pop()
        self.epochs.append(seen.epoch)
        self.means.append(seen.fitness_mean)
        self.maxima.append(seen.fitness_max)

    def as_html(self, title: str, values: Mapping[str, object]) -> str:
        """Returns a table of ``values`` under ``title``, and both fitnesses over the generations, as an inline SVG."""
        cells = "".join(f"<tr><th>{html.escape(n)}</th><td>{_shown(value)}</td></tr>" for n, value in values.items())
        return f"<div><strong>{html.escape(title)}</strong><table>{cells}</table>{self._picture()}</div>"

    def _picture(self) -> str:
        known = [v for v in (*self.means, *self.maxima) if abs(v) < float("inf")]
        if len(self.epochs) < 2 or not known:
            return ""
        low, high, first, last = min(known), max(known), self.epochs[0], self.epochs[-1]
        scale = (_HEIGHT - 2 * _EDGE) / (high - low or 1.0)

        def line(values: Sequence[float] | deque[float], style: str) -> str:
            points = " ".join(
                f"{_EDGE + (_WIDTH - 2 * _EDGE) * (epoch - first) / (last - first):.1f},"
                f"{_HEIGHT - _EDGE - scale * (value - low):.1f}"
                for epoch, value in zip(self.epochs, values, strict=True)
                if abs(value) < float("inf")
            )
            return f'<polyline points="{points}" fill="none" stroke="currentColor" {style}/>'

        drawn = line(self.maxima, 'stroke-width="1" stroke-opacity="0.45"') + line(self.means, 'stroke-width="2"')
        frame = f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="currentColor" stroke-opacity="0.2"/>'
        size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
        said = f"generation {first} to {last}, fitness {low:.4g} to {high:.4g}; thick: mean, thin: best member"
        return f'<svg role="img" aria-label="{said}" {size}>{frame}{drawn}</svg><div><small>{said}</small></div>'


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else html.escape(str(value))
