"""Writes report.html, summary.csv and the figures as files."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from bench.methods.table import title
from bench.protocol.profiles import EVIDENCE
from bench.records.models import Record, Run
from bench.report import figures, figures_control, tables
from bench.report.advice import advice
from bench.report.analysis import analyse, families, is_ablation, is_ours, ranks, sessions, shared_flags
from bench.report.claims import judge_all
from bench.report.flags import MEANING
from bench.report.results import EntryResult, WorkloadResult, at_equal_cpu
from bench.report.sentences import sentences
from bench.report.tables import clock


@dataclass(frozen=True)
class Written:
    """Where things are, and the sentences to print."""

    html: Path
    csv: Path
    sentences: list[str]


def write(records: list[Record], folder: Path) -> Written:
    """Makes everything from ``records`` alone.

    Raises:
        ValueError: the records hold no finished study.
    """
    results = [result for result in analyse(records) if result.entries]
    if not results:
        raise ValueError("a report needs at least one tuned workload with final runs; run bench until one is finished")
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {result.name: draw(result) for result in results}
    overall = figures.save(overall_figures(results))
    html, csv = folder / "report.html", folder / "summary.csv"
    html.write_text(render(records, results, drawn, overall), encoding="utf-8")
    csv.write_text(tables.summary(results), encoding="utf-8")
    _write_figures(drawn, overall, folder / "figures")
    return Written(html, csv, advice(results) or sentences(results))


def draw(result: WorkloadResult) -> dict[str, str]:
    """All figures of one workload."""
    return figures.save(
        {
            "curves": partial(figures.learning_curves, result),
            "forest": partial(figures.forest, result),
            "steps": partial(figures.steps_to_target, result),
            "rates": partial(figures.rates, result),
            "cost": partial(figures.cost, result),
            "traces": partial(figures_control.traces, result),
        }
    )


def overall_figures(results: list[WorkloadResult]) -> dict[str, Callable[[], str]]:
    """Returns how to draw the figures of all workloads together."""
    found: dict[str, Callable[[], str]] = {"profile": partial(figures_control.performance_profile, results)}
    for family, some, _ in families(results):
        found[f"{family}_ranks"] = partial(figures.rank_chart, some)
    return found


def _write_figures(drawn: dict[str, dict[str, str]], overall: dict[str, str], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, svgs in {**drawn, "all": overall}.items():
        for kind, svg in svgs.items():
            (folder / f"{name}-{kind}.svg").write_text(svg, encoding="utf-8")


def render(
    records: list[Record],
    results: list[WorkloadResult],
    drawn: dict[str, dict[str, str]],
    overall: dict[str, str],
) -> str:
    """The page."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_file("template.html"))
    runs = [record for record in records if isinstance(record, Run)]
    used = [flag for flag in MEANING if any(flag in entry.flags for result in results for entry in result.entries)]
    return template.render(
        style=Markup(_file("style.css")),
        script=Markup(_file("sort.js")),
        results=results,
        sentences=sentences(results),
        advice=advice(results),
        claims=judge_all(results),
        families=families(results),
        shared_flags=shared_flags,
        cell=_cells(results),
        drawn={name: {kind: Markup(svg) for kind, svg in svgs.items()} for name, svgs in drawn.items()},
        overall={kind: Markup(svg) for kind, svg in overall.items()},
        flags=[(flag, MEANING[flag]) for flag in used],
        t=tables,
        title_of=title,
        is_ours=is_ours,
        is_ablation=is_ablation,
        runs=runs,
        cpu=clock(sum(run.cost.total_cpu for run in runs)),
        machines=sorted({run.machine.cpu for run in runs}),
        revisions=sorted({run.machine.revision for run in runs}),
        versions=max((run.machine for run in runs), key=lambda machine: machine.time).versions,
        sessions=sessions(records),
        clock=clock,
        date=max(run.machine.time for run in runs)[:10],
        demonstration=any(result.profile not in EVIDENCE for result in results),
        ranks=ranks,
        at_equal_cpu=at_equal_cpu,
    )


def _cells(results: list[WorkloadResult]) -> dict[tuple[str, str], EntryResult]:
    return {(result.name, entry.entry): entry for result in results for entry in result.entries}


def _file(name: str) -> str:
    return resources.files("bench.report").joinpath(name).read_text(encoding="utf-8")
