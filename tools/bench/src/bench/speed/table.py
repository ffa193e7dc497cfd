"""The table `bench speed` prints: one line per candidate, its bar, and whether it holds."""

from rich.console import Console
from rich.table import Table

from bench.speed.run import Row


def show(console: Console, rows: list[Row]) -> None:
    """Prints the rows of one case."""
    if not rows:
        return
    table = Table(title=f"{rows[0].package} · {rows[0].case} · {rows[0].device}", title_justify="left")
    for name in ("candidate", "threads", "per call", "ratio (quartiles)", "bar", "measured", "holds"):
        table.add_column(name, justify="left" if name in ("candidate", "bar") else "right")
    for row in rows:
        table.add_row(
            row.candidate,
            str(row.threads),
            _amount(row),
            "" if row.ratio is None else f"{row.ratio:.3f} ({row.low:.3f} to {row.high:.3f})",
            row.bar,
            row.note if row.value is None else f"{row.value:.4g}",
            "" if row.holds is None else ("yes" if row.holds else "NO"),
        )
    console.print(table)


def _amount(row: Row) -> str:
    if row.number is not None:
        return f"{row.number:.4g} {row.unit}"
    return "" if row.seconds is None else f"{row.seconds * 1e3:.3f} ms"
