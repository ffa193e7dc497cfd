"""What a notebook shows of an optimizer: its present values, and the picture of its logs with matplotlib."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any


def as_html(title: str, values: Mapping[str, object], records: Sequence[Mapping[str, Any]]) -> str:
    """Returns a table of ``values`` under ``title``, and the picture of ``records`` where there are any."""
    cells = "".join(f"<tr><th>{html.escape(name)}</th><td>{_shown(value)}</td></tr>" for name, value in values.items())
    return f"<div><strong>{html.escape(title)}</strong><table>{cells}</table>{_picture(records)}</div>"


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else html.escape(str(value))


def _picture(records: Sequence[Mapping[str, Any]]) -> str:
    if not records or find_spec("matplotlib") is None:
        return ""
    from adaptive_optimizer.plot import draw  # runs as a program too, and so is not imported with the package

    picture = io.BytesIO()
    draw(records, picture)
    encoded = base64.b64encode(picture.getvalue()).decode("ascii")
    return f'<img alt="signals, learning rate and factors over steps" src="data:image/png;base64,{encoded}">'
