"""`bench list`: profiles, workloads and methods."""

from rich.table import Table

from bench.commands.console import console
from bench.methods.method import split_entry
from bench.methods.table import METHODS, importable
from bench.protocol.profiles import PROFILES
from bench.workloads.table import WORKLOADS


def show_lists() -> None:
    """`bench list`."""
    table = Table("profile", "about", "trials", "tuning seeds", "final seeds", title="Profiles", title_justify="left")
    for profile in PROFILES.values():
        seeds = (str(len(profile.tuning_seeds)), str(len(profile.final_seeds)))
        table.add_row(profile.name, profile.about, str(profile.trials), *seeds)
    console.print(table)
    table = Table("workload", "metric", "question", "data", "profiles", title="Workloads", title_justify="left")
    for workload in WORKLOADS.values():
        data = ", ".join(source.package for source in workload.sources) or "simulated, no files"
        profiles = ", ".join(workload.budgets) + ("" if importable(workload) else f" (extra {workload.extra})")
        table.add_row(workload.id, f"{workload.metric}, {workload.better}", workload.question, data, profiles)
    console.print(table)
    table = Table("method", "name", "package", "tuned", title="Methods", title_justify="left")
    for method in METHODS.values():
        tuned = (
            f"lr {', '.join(f'{lr:g}' for lr in method.grid)}; {method.knob[0]} {method.knob[1]} or {method.knob[2]}"
        )
        name = f"{method.id} (ours)" if method.ours else method.id
        name += "" if method.available else f" (needs {method.needs})"
        table.add_row(name, method.title, method.package, tuned)
    console.print(table)
    cosine = ", ".join(method.id for method in METHODS.values() if method.cosine and split_entry(method.id)[0])
    console.print(f"with +cosine (warm-up and half a cosine): {cosine}", highlight=False)
