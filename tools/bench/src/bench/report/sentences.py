"""The result in sentences: each of our methods against the reference, counted over workloads."""

from collections import Counter

from bench.methods.table import METHODS, title
from bench.report.results import EntryResult, WorkloadResult
from bench.report.statistics import ENOUGH_PAIRS, Verdict

WORDS: tuple[tuple[Verdict, str], ...] = (
    ("better", "better on"),
    ("equivalent", "equivalent on"),
    ("undecided", "undecided on"),
    ("worse", "worse on"),
)


def sentences(results: list[WorkloadResult]) -> list[str]:
    """Returns one sentence for each of our methods, profile by profile."""
    found: list[str] = []
    for profile in dict.fromkeys(result.profile for result in results):
        here = [result for result in results if result.profile == profile]
        ours = [method.id for method in METHODS.values() if method.ours]
        found += [sentence for entry in ours if (sentence := sentence_of(entry, here))]
    return found


def sentence_of(entry: str, results: list[WorkloadResult]) -> str:
    """Returns the sentence on one method; nothing where it was not compared."""
    found = standing(entry, results)
    return f"{title(entry)} {found}" if found else ""


def standing(entry: str, results: list[WorkloadResult]) -> str:
    """Returns how one method stands against its references; nothing where it was not compared."""
    pairs = [
        (result, mine)
        for result in results
        if (mine := result.entry(entry)) is not None and mine.comparison is not None
    ]
    if not pairs:
        return ""
    parts = [
        f"{words} {len(where)} ({', '.join(where)})"
        for verdict, words in WORDS
        if (where := [result.place(mine) for result, mine in pairs if mine.verdict == verdict])
    ]
    least = min(mine.comparison.n for _, mine in pairs if mine.comparison)
    caution = " Too few seeds to mean anything." if least < ENOUGH_PAIRS else ""
    return f"against {_references(pairs)}: {'; '.join(parts)}.{caution}"


def _references(pairs: list[tuple[WorkloadResult, EntryResult]]) -> str:
    names = Counter(mine.against for _, mine in pairs)
    return "the best " + " and ".join(map(title, names))
