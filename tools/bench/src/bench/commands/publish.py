"""Writes published records to the docs and the READMEs. For maintainers.

Everything between ``<!-- bench -->`` and ``<!-- /bench -->`` of a README is generated.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from bench.methods.table import METHODS
from bench.protocol.claims import CLAIMS
from bench.records.store import read_many
from bench.report import figures, figures_control
from bench.report.analysis import analyse, entries_in, families, is_ours, is_reference
from bench.report.pages import PACKAGES, evidence, of_package, overview, unfinished
from bench.report.results import WorkloadResult

BEGIN, END = "<!-- bench -->", "<!-- /bench -->"
NOTHING = (
    '<svg role="img" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 40"><text x="8" y="26" fill="#64748b" '
    'font-family="sans-serif" font-size="14">{title}: not run to the end yet under protocol 2</text></svg>'
)


def generated(root: Path, records: list[Path]) -> dict[Path, str]:
    """The text of every file that shows the records, README sections put in their place.

    Raises:
        ValueError: a README has no place for its section.
    """
    results = published_results(records)
    texts = {root / "docs" / "evidence.md": evidence(results)}
    gradient = [result for result in results if result.family == "gradient" and len(result.entries) > 2]
    entries = [entry for entry in entries_in(gradient) if is_ours(entry) or is_reference(entry)]
    missing = unfinished(results)
    sections = {root / "README.md": [*(overview(gradient, entries) if gradient else []), *missing]}
    sections |= {root / "packages" / name / "README.md": of_package(name, results) for name in PACKAGES}
    for path, lines in sections.items():
        texts[path] = replaced(path, path.read_text(encoding="utf-8"), lines)
    return texts


def published_results(records: list[Path]) -> list[WorkloadResult]:
    """Returns the results of the studies whose final runs are complete."""
    return [result for result in analyse(read_many(records)) if result.entries and result.complete]


def replaced(path: Path, text: str, lines: list[str]) -> str:
    """The text with other lines between the marks.

    Raises:
        ValueError: it does not have each mark once, in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{path} must have {BEGIN} and, after it, {END}, once each")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{rest.split(END)[1]}"


def claim_pictures(results: list[WorkloadResult], drawn: Mapping[str, str]) -> dict[str, str]:
    """Returns for each package the picture of its first claim that was measured, else of its first comparison."""
    found: dict[str, str] = {}
    for package, entry in PACKAGES.items():
        claims = [claim for claim in CLAIMS if METHODS[claim.entry].package == package]
        names = [
            f"{result.name}-{'rates' if claim.over_rates else 'forest'}"
            for claim in claims
            for result in results
            if (result.workload, result.family) == (claim.workload, claim.family)
        ]
        names += [f"{result.name}-forest" for result in results if result.entry(entry) is not None]
        title = METHODS[entry].title
        found[f"claim-{package}"] = next((drawn[name] for name in names if name in drawn), NOTHING.format(title=title))
    return found


def publish(root: Path, records: list[Path]) -> list[Path]:
    """Writes all of it and the figures, and removes figures that are no longer made; returns what was written."""
    texts = generated(root, records)
    folder = root / "docs" / "_static" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    results = published_results(records)
    drawn: dict[str, Callable[[], str]] = {
        f"{result.name}-forest": partial(figures.forest, result) for result in results
    }
    drawn |= {
        f"{result.name}-curves": partial(figures.learning_curves, result)
        for result in results
        if any(entry.comparison for entry in result.entries)
    }
    drawn |= {f"{result.name}-rates": partial(figures.rates, result) for result in results}
    drawn |= {f"{result.name}-cost": partial(figures.cost, result) for result in results}
    drawn |= {f"{family}-ranks": partial(figures.rank_chart, some) for family, some, _ in families(results)}
    drawn["all-profile"] = partial(figures_control.performance_profile, results)
    saved = figures.save(drawn)
    saved = {"all-profile": NOTHING.format(title="Time to target")} | saved | claim_pictures(results, saved)
    texts |= {folder / f"{name}.svg": svg + "\n" for name, svg in saved.items()}
    for path in {*folder.glob("*.svg")} - texts.keys():
        path.unlink()
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)
