"""`bench list`: profiles, workloads and methods."""

from rich.table import Column, Table

from bench.commands.console import console
from bench.methods.method import Box, Method
from bench.methods.table import METHODS, importable
from bench.protocol.profiles import PROFILES
from bench.workloads.table import WORKLOADS


def show_lists() -> None:
    """Prints them."""
    table = _table("Profiles", "profile", "about", "points", "tuning seeds", "final seeds")
    for profile in PROFILES.values():
        seeds = (str(len(profile.tuning_seeds)), str(len(profile.final_seeds)))
        table.add_row(profile.name, profile.about, str(profile.points), *seeds)
    console.print(table)
    table = _table("Workloads", "workload", "metric", "margin", "question", "data", "profiles")
    for workload in WORKLOADS.values():
        data = ", ".join(source.package for source in workload.sources) or "simulated, no files"
        profiles = ", ".join(workload.budgets) + ("" if importable(workload) else f" (extra {workload.extra})")
        metric = f"{workload.metric}, {workload.better}"
        table.add_row(workload.id, metric, f"{workload.margin:g}", workload.question, data, profiles)
    console.print(table)
    table = _table("Methods", "method", "name", "package", "searched")
    for method in METHODS.values():
        package = f"{method.package} (ours)" if method.ours else method.package
        package += "" if method.available else f" (needs {method.needs})"
        table.add_row(method.id, method.title, package, _searched(method))
    console.print(table)


def _table(title: str, name: str, *heads: str) -> Table:
    """Makes a table: the first column holds what a command takes and is never broken, the others are never cut."""
    columns = [Column(name, no_wrap=True), *(Column(head, overflow="fold") for head in heads)]
    return Table(*columns, title=title, title_justify="left")


def _searched(method: Method) -> str:
    if method.ablates:
        changed = ", ".join(f"{name} {value}" for name, value in method.instead.items())
        return f"as {method.setting_of}, with {changed}"
    box: Box = method.box
    knobs = [f"{name} {' / '.join(map(str, options))}" for name, options in box.knobs.items()]
    return "; ".join([f"lr {box.lr[0]:g} to {box.lr[1]:g}", *knobs, f"schedule {' / '.join(box.schedules)}"])
