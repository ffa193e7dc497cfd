"""The notebook view of AEES: its current state, and a plot of its episodes where matplotlib is installed."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any


def as_html(title: str, values: Mapping[str, object], columns: Mapping[str, Sequence[object]]) -> str:
    """Returns a table of ``values`` under ``title``, and the picture of the closed episodes in ``columns``."""
    cells = "".join(f"<tr><th>{html.escape(name)}</th><td>{_shown(value)}</td></tr>" for name, value in values.items())
    return f"<div><strong>{html.escape(title)}</strong><table>{cells}</table>{_picture(columns)}</div>"


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else html.escape(str(value))


def _picture(columns: Mapping[str, Sequence[object]]) -> str:
    episodes: list[dict[str, Any]] = [
        dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
    ]
    if not episodes or find_spec("matplotlib") is None:
        return ""
    from pulseopt.plot import draw  # runs as a program too, and so is not imported with the package

    picture = io.BytesIO()
    draw(episodes).savefig(picture, format="png", dpi=80)
    encoded = base64.b64encode(picture.getvalue()).decode("ascii")
    return f'<img alt="rewards and candidates of the episodes" src="data:image/png;base64,{encoded}">'
