"""The live table in a notebook: one output, updated during the runs."""

import importlib
import io
import time
from typing import Any

from rich.console import Console

from bench.commands.progress import LiveTable

PRE = '<pre style="white-space: pre; line-height: 1.2; font-family: monospace">{code}</pre>'


class NotebookTable(LiveTable):
    """Draws what `LiveTable` draws as HTML, into one output of the cell."""

    _handle: Any = None
    _drawn = 0.0

    def __enter__(self) -> "NotebookTable":
        """Opens the output."""
        self._handle = _display(_html(self._text()))
        return self

    def __exit__(self, *error: object) -> None:
        """Leaves the last table in it."""
        self._handle.update(_html(self._text()))

    def tick(self) -> None:
        """Redraws, twice a second at most."""
        if time.monotonic() - self._drawn > 0.5:
            self._drawn = time.monotonic()
            self._handle.update(_html(self._text()))

    def _text(self) -> str:
        page = Console(file=io.StringIO(), record=True, width=110, force_jupyter=False, color_system=None)
        page.print(self._render())
        return page.export_html(inline_styles=True, code_format=PRE)


_ipython: Any = importlib.import_module("IPython.display")  # not annotated


def _display(content: object) -> Any:
    return _ipython.display(content, display_id=True)


def _html(content: str) -> object:
    html: object = _ipython.HTML(content)
    return html
