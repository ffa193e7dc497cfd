"""`bench` and its commands. Torch is imported inside them, so that `--help` is instant."""

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.console import speak_plainly
from bench.commands.slips import OneLineErrors

app = typer.Typer(
    cls=OneLineErrors,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Train real models on real data with all five methods beside tuned baselines, and report what was measured.",
)
Workers = Annotated[int, typer.Option(min=0, help="Processes; 0 is one per core.")]
Out = Annotated[Path | None, typer.Option(help="Folder of records and report; default outputs/bench/<profile>.")]
Methods = Annotated[
    list[str] | None,
    typer.Option(metavar="NAMES", help="Only these, separated by commas or given again; the references always run."),
]
Plain = Annotated[bool, typer.Option(help="Lines instead of the live table.")]
ExecutorName = Annotated[str, typer.Option("--executor", help="local or ray.")]


@app.callback(invoke_without_command=True)
def main_callback(context: typer.Context) -> None:
    """Run the quick profile when no command is given."""
    if context.invoked_subcommand is None:
        run_command()


@app.command("run")
def run_command(
    profile: Annotated[str, typer.Option(help="smoke, quick, full or paper.")] = "quick",
    methods: Methods = None,
    workloads: Annotated[
        list[str] | None, typer.Option(metavar="NAMES", help="Only these, separated by commas or given again.")
    ] = None,
    workers: Workers = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    executor: ExecutorName = "local",
    out: Out = None,
    plain: Plain = False,
) -> None:
    """Tune every method alike, run the final seeds, write records.jsonl, summary.csv and report.html."""
    from bench.commands.run import run_profile

    raise typer.Exit(run_profile(profile, _names(methods), _names(workloads), workers, device, executor, out, plain))


@app.command("report")
def report_command(
    records: Annotated[list[Path], typer.Argument(help="Record files, .jsonl or .jsonl.gz.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("outputs/bench/report"),
) -> None:
    """Write summary.csv, report.html and the figures from records alone."""
    from bench.commands.run import write_report

    raise typer.Exit(write_report(records, out))


@app.command("replay")
def replay_command(
    run: Annotated[str, typer.Argument(help="A run's id (its first digits are enough).")],
    records: Annotated[
        list[Path] | None, typer.Option(help="Where to look; default every file under outputs/bench.")
    ] = None,
) -> None:
    """Make one recorded run again and compare its curve to the bit."""
    from bench.commands.replay import replay

    raise typer.Exit(replay(run, records or []))


@app.command("speed")
def speed_command(
    package: Annotated[str | None, typer.Option(help="Only this package's cases.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    records: Annotated[Path | None, typer.Option(help="Append JSON lines to this file.")] = None,
) -> None:
    """Time every package beside its peers: ratios within one process, peak memory, percent of pure inference."""
    from bench.commands.speed import speed

    raise typer.Exit(speed(package, device, records))


@app.command("compare")
def compare_command(
    task: Annotated[Path | None, typer.Argument(help="A Python file with a function task(seed).")] = None,
    new: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="Write a file to start from: image-folder, csv, text or rl."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps of one run.")] = 300,
    batch: Annotated[int, typer.Option(min=1, help="Samples per step.")] = 64,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMES",
            help="Only these, by commas or given again; all is every row. Default: four of ours, AdamW, schedule-free "
            "AdamW, Lion and Muon.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, help="Final seeds.")] = 5,
    trials: Annotated[int, typer.Option(min=1, max=8, help="Settings tried per method.")] = 4,
    workers: Workers = 0,
    out: Out = None,
    plain: Plain = False,
) -> None:
    """Put your own task through the same protocol, to learn whether to switch, and to which setting."""
    if new is not None:
        from bench.commands.new_task import new as write_new

        raise typer.Exit(write_new(new, task))
    if task is None:
        raise ValueError("the task must be a Python file; `bench compare --new csv` writes one to start from")
    from bench.commands.own_task import compare

    raise typer.Exit(compare(task, steps, batch, _names(methods), seeds, trials, workers, out, plain))


@app.command("list")
def list_command() -> None:
    """Show profiles, workloads and methods."""
    from bench.commands.listing import show_lists

    show_lists()


@app.command("fix")
def fix_command(
    records: Annotated[list[Path], typer.Argument(help="Record files of a complete profile.")],
) -> None:
    """For maintainers: write what a run costs into the repository, from records."""
    from bench.commands.fix_costs import fix

    fix(records)


@app.command("publish")
def publish_command(
    records: Annotated[list[Path], typer.Argument(help="Record files, .jsonl or .jsonl.gz.")],
    root: Annotated[Path, typer.Option(help="The workspace.")] = Path(),
) -> None:
    """For maintainers: write the docs' evidence page, its figures and the READMEs' tables from records."""
    from bench.commands.publish import publish

    for path in publish(root, records):
        typer.echo(path)


def _names(texts: list[str] | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in ",".join(texts or []).split(",") if name.strip())


def main() -> None:
    """Entry point of the console script."""
    speak_plainly()
    app()
