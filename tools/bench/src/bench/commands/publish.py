"""Put published records into the docs and the READMEs. For maintainers.

Everything between ``<!-- bench -->`` and ``<!-- /bench -->`` of a README is generated.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.methods.method import split_entry
from bench.methods.table import METHODS
from bench.protocol.claims import CLAIMS
from bench.records.models import PROTOCOL
from bench.records.store import read_many
from bench.report import figures, figures_control
from bench.report.analysis import analyse, entries_in, families, is_ours, is_reference
from bench.report.pages import PACKAGES, evidence, of_package, overview
from bench.report.results import EntryResult, WorkloadResult

BEGIN, END = "<!-- bench -->", "<!-- /bench -->"


def generated(root: Path, records: list[Path]) -> dict[Path, str]:
    """The text of every file that shows the records, README sections put in their place.

    Raises:
        ValueError: the records hold no finished study, or a README has no place for its section.
    """
    results = published_results(records)
    texts = {root / "docs" / "evidence.md": evidence(results)}
    gradient = [result for result in results if result.family == "gradient" and len(result.entries) > 2]
    entries = [entry for entry in entries_in(gradient) if is_ours(entry) or is_reference(entry)]
    sections = {root / "README.md": overview(gradient, entries)}
    sections |= {root / "packages" / name / "README.md": of_package(name, results) for name in PACKAGES}
    for path, lines in sections.items():
        texts[path] = replaced(path, path.read_text(encoding="utf-8"), lines)
    return texts


def published_results(records: list[Path]) -> list[WorkloadResult]:
    """Results of the records, those without final runs left out.

    Raises:
        ValueError: there is none.
    """
    results = [result for result in analyse(read_many(records)) if result.entries]
    if not results:
        raise ValueError(f"records must hold at least one finished study, got none in {', '.join(map(str, records))}")
    return results


def replaced(path: Path, text: str, lines: list[str]) -> str:
    """The text with other lines between the marks.

    Raises:
        ValueError: it does not have each mark once, in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{path} must have {BEGIN} and, after it, {END}, once each")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{rest.split(END)[1]}"


def claimed(results: list[WorkloadResult]) -> dict[str, WorkloadResult]:
    """Returns for each package that was compared the result on which its claim can fail, else its first one."""
    where = {claim.entry: (claim.workload, claim.family) for claim in CLAIMS}
    found: dict[str, WorkloadResult] = {}
    for package, entry in PACKAGES.items():
        compared = [result for result in results if any(_is_of(package, other) for other in result.entries)]
        compared.sort(key=lambda result: (result.workload, result.family) != where[entry])
        if compared:
            found[package] = compared[0]
    return found


def _is_of(package: str, entry: EntryResult) -> bool:
    return entry.ours and METHODS[split_entry(entry.entry)[0]].package == package and entry.comparison is not None


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
    drawn |= {f"{result.name}-cost": partial(figures.cost, result) for result in results if result.protocol == PROTOCOL}
    drawn |= {f"{family}-ranks": partial(figures.rank_chart, some) for family, some, _ in families(results)}
    drawn["all-profile"] = partial(figures_control.performance_profile, results)
    saved = figures.save(drawn)
    saved |= {f"claim-{package}": saved[f"{result.name}-forest"] for package, result in claimed(results).items()}
    texts |= {folder / f"{name}.svg": svg + "\n" for name, svg in saved.items()}
    for path in {*folder.glob("*.svg")} - texts.keys():
        path.unlink()
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)
