"""The result in sentences: better, tie or worse than the tuned reference, counted over workloads."""

from bench.methods.table import METHODS, title
from bench.report.results import WorkloadResult


def sentences(results: list[WorkloadResult]) -> list[str]:
    """One sentence for each of our methods, profile by profile."""
    found: list[str] = []
    for profile in dict.fromkeys(result.profile for result in results):
        here = [result for result in results if result.profile == profile]
        for method in METHODS.values():
            if method.ours:
                found += _of_method(method.id, here)
    return found


def _of_method(entry: str, results: list[WorkloadResult]) -> list[str]:
    by_reference: dict[str, list[tuple[str, str, int]]] = {}
    for result in results:
        mine = result.entry(entry)
        if mine is None or mine.comparison is None:
            continue
        found = (mine.verdict, result.title, mine.comparison.n)
        by_reference.setdefault(mine.against, []).append(found)
    return [_sentence(entry, reference, entries) for reference, entries in by_reference.items()]


def _sentence(entry: str, reference: str, entries: list[tuple[str, str, int]]) -> str:
    parts: list[str] = []
    for verdict, word in (("better", "better on"), ("tie", "a tie on"), ("worse", "worse on")):
        places = [place for found, place, _ in entries if found == verdict]
        if places:
            parts.append(f"{word} {len(places)} ({', '.join(places)})")
    seeds = sorted({n for _, _, n in entries})
    span = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    count = f"{len(entries)} workload" + ("s" if len(entries) > 1 else "")
    caution = " Too few seeds to mean anything." if seeds[0] < 5 else ""
    return f"{title(entry)} against tuned {title(reference)}, {count}, {span} seeds each: {'; '.join(parts)}.{caution}"
