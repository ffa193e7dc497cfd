"""Put published records into the docs and the READMEs. For maintainers.

Everything between ``<!-- bench -->`` and ``<!-- /bench -->`` of a README is generated.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.records.store import read_many
from bench.report import figures, figures_control
from bench.report.analysis import analyse
from bench.report.claims import CLAIMS
from bench.report.pages import PACKAGES, evidence, of_package, overview
from bench.report.results import WorkloadResult

BEGIN, END = "<!-- bench -->", "<!-- /bench -->"


def generated(root: Path, records: list[Path]) -> dict[Path, str]:
    """The text of every file that shows the records, README sections put in their place.

    Raises:
        ValueError: the records hold no finished study, or a README has no place for its section.
    """
    results = published_results(records)
    texts = {root / "docs" / "evidence.md": evidence(results)}
    entries = ["adamw", *PACKAGES.values()]
    gradient = [result for result in results if result.family == "gradient" and len(result.entries) > 2]
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
    """For each package whose method was compared, the result on which its promise can fail."""
    packages = {entry: package for package, entry in PACKAGES.items()}
    return {
        packages[claim.entry]: result
        for claim in CLAIMS
        for result in reversed(results)
        if result.workload == claim.workload and (mine := result.entry(claim.entry)) is not None and mine.comparison
    }


def publish(root: Path, records: list[Path]) -> list[Path]:
    """Write all of it and the figures, and remove figures that are no longer made; returns what was written."""
    texts = generated(root, records)
    folder = root / "docs" / "_static" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    results = published_results(records)
    drawn: dict[str, Callable[[], str]] = {
        f"{result.name}-forest": partial(figures.forest, result) for result in results
    }
    drawn["all-profile"] = partial(figures_control.performance_profile, results)
    saved = figures.save(drawn)
    saved |= {f"claim-{package}": saved[f"{result.name}-forest"] for package, result in claimed(results).items()}
    texts |= {folder / f"{name}.svg": svg + "\n" for name, svg in saved.items()}
    for path in {*folder.glob("*.svg")} - texts.keys():
        path.unlink()
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)
