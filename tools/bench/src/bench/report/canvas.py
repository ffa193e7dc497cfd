"""The canvas of all figures: matplotlib without a display, one style, our colours, SVG for inclusion in a page."""

import importlib
import io
from typing import Any

import matplotlib as mpl

from bench.report.compact import compact

mpl.use("Agg")
plt: Any = importlib.import_module("matplotlib.pyplot")  # its annotations are not complete

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#94a3b8",
    "axes.labelcolor": "#334155",
    "axes.titlesize": 9,
    "xtick.color": "#64748b",
    "ytick.color": "#64748b",
    "text.color": "#0f172a",
    "axes.grid": True,
    "grid.color": "#e2e8f0",
    "grid.linewidth": 0.6,
}
GREY, DARK = "#94a3b8", "#475569"
COLOURS = {
    "thermolion": "#c2410c",
    "rangerlite": "#1d4ed8",
    "aees-adamw": "#047857",
    "adaptive-adamw": "#7e22ce",
    "aees-find": "#34d399",
    "adaptive-trend": "#c084fc",
    "torcheggroll-r4": "#be123c",
    "torcheggroll-r1": "#fb7185",
    "torcheggroll-r16": "#881337",
    "adamw": "#0f172a",
    "openai-es": "#0f172a",
    "schedulefree": "#64748b",
    "lion": "#ca8a04",
    "sgd": "#a3a3a3",
    "radam": "#38bdf8",
    "lookahead-radam": "#0e7490",
    "prodigy": "#84cc16",
    "muon": "#d946ef",
    "soap": "#f97316",
    "ademamix": "#a16207",
    "pgpe": "#0e7490",
    "sep-cma": "#84cc16",
}


def colour(entry: str) -> str:
    """Returns the colour of a method; ablations are dark grey."""
    return COLOURS.get(entry, DARK)


def as_svg(figure: Any) -> str:
    """The SVG element alone, without prolog and without fixed size, so that it can stand in a page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    text = buffer.getvalue()
    return compact(text[text.index("<svg") :].replace("<svg ", '<svg role="img" ', 1))
