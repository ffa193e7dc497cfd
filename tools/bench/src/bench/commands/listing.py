"""`bench list`: profiles, workloads and methods."""

from rich.table import Table

from bench.commands.console import console
from bench.methods.method import Box, Method
from bench.methods.table import METHODS, importable
from bench.protocol.profiles import PROFILES
from bench.workloads.table import WORKLOADS


def show_lists() -> None:
    """Prints them."""
    table = Table("profile", "about", "points", "tuning seeds", "final seeds", title="Profiles", title_justify="left")
    for profile in PROFILES.values():
        seeds = (str(len(profile.tuning_seeds)), str(len(profile.final_seeds)))
        table.add_row(profile.name, profile.about, str(profile.points), *seeds)
    console.print(table)
    table = Table(
        "workload", "metric", "margin", "question", "data", "profiles", title="Workloads", title_justify="left"
    )
    for workload in WORKLOADS.values():
        data = ", ".join(source.package for source in workload.sources) or "simulated, no files"
        profiles = ", ".join(workload.budgets) + ("" if importable(workload) else f" (extra {workload.extra})")
        metric = f"{workload.metric}, {workload.better}"
        table.add_row(workload.id, metric, f"{workload.margin:g}", workload.question, data, profiles)
    console.print(table)
    table = Table("method", "name", "package", "searched", title="Methods", title_justify="left")
    for method in METHODS.values():
        name = f"{method.id} (ours)" if method.ours else method.id
        name += "" if method.available else f" (needs {method.needs})"
        table.add_row(name, method.title, method.package, _searched(method))
    console.print(table)


def _searched(method: Method) -> str:
    if method.ablates:
        changed = ", ".join(f"{name} {value}" for name, value in method.instead.items())
        return f"as {method.ablates}, with {changed}"
    box: Box = method.box
    knobs = [f"{name} {' / '.join(map(str, options))}" for name, options in box.knobs.items()]
    return "; ".join([f"lr {box.lr[0]:g} to {box.lr[1]:g}", *knobs, f"schedule {' / '.join(box.schedules)}"])
