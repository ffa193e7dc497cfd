"""Changelogs, as https://keepachangelog.com/en/1.1.0/ has them: read, judge, release."""

import re
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

from packaging.version import InvalidVersion, Version

KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
HEADING = re.compile(r"^## \[(?P<label>[^\]]+)\](?: - (?P<day>\S+))?$", re.MULTILINE)
KIND = re.compile(r"^### (.+)$", re.MULTILINE)
LINK_TARGET = re.compile(r"^\[([^\]]+)\]:\s*(\S+)|\]\(([^)\s]+)", re.MULTILINE)


@dataclass(frozen=True)
class Section:
    """What one version changed; ``day`` is as written, None for what is not released yet."""

    label: str
    day: str | None
    body: str

    @property
    def entries(self) -> dict[str, int]:
        """Number of entries of each kind."""
        parts = KIND.split(self.body)[1:]
        return {
            kind: len(re.findall(r"^[-*] \S", text, re.MULTILINE))
            for kind, text in zip(parts[::2], parts[1::2], strict=True)
        }


def sections(text: str) -> list[Section]:
    """Reads the sections, newest first."""
    heads = list(HEADING.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)] * bool(heads)
    return [
        Section(head["label"], head["day"], text[head.end() : end].strip())
        for head, end in zip(heads, ends, strict=True)
    ]


def faults(text: str, version: Version) -> list[str]:
    """Says what is wrong with a changelog whose package is at ``version``."""
    found = sections(text)
    if not found or found[0].label != "Unreleased" or found[0].day:
        return ["the first section must be `## [Unreleased]`, without a date"]
    wrong = [
        f"{line!r} must be `## [version] - date`"
        for line in re.findall(r"^## .*$", text, re.MULTILINE)
        if not HEADING.match(line)
    ]
    dated = [(section, _version(section.label), _day(section.day)) for section in found[1:]]
    for section, number, day in dated:
        if number is None or day is None:
            wrong.append(f"[{section.label}] must have a PEP 440 version and a date YYYY-MM-DD, got {section.day}")
        if not sum(section.entries.values()):
            wrong.append(f"[{section.label}] must have an entry")
    wrong += [
        f"{kind!r} under [{section.label}] must be one of {', '.join(KINDS)}, once, with an entry"
        for section in found
        for kind in set(KIND.findall(section.body))
        if kind not in KINDS or not section.entries[kind] or KIND.findall(section.body).count(kind) > 1
    ]
    for (above, high, late), (below, low, early) in pairwise(dated):
        if high and low and late and early and (high <= low or late < early):
            wrong.append(f"[{above.label}] must be newer than [{below.label}], which stands below it")
    if not dated or dated[0][1] != version:
        wrong.append(f"the newest release must be [{version}], as in pyproject.toml")
    return wrong + _link_faults(text, {section.label for section in found})


def release(text: str, version: Version, day: date) -> str:
    """Moves what is under Unreleased into a section of its own; an empty Unreleased stays above it."""
    head = next(HEADING.finditer(text))
    return f"{text[: head.end()]}\n\n## [{version}] - {day.isoformat()}{text[head.end() :]}"


def _link_faults(text: str, labels: set[str]) -> list[str]:
    wrong: list[str] = []
    for label, target, inline in LINK_TARGET.findall(re.sub(r"`[^`]*`", "", text)):
        if not re.match(r"https?://\S+\.\S+", target or inline):
            wrong.append(f"the link {target or inline!r} must be absolute")
        if label and _version(label) and label not in labels:
            wrong.append(f"the link [{label}] belongs to no section")
    return wrong


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text or "") if re.fullmatch(r"\d{4}-\d\d-\d\d", text or "") else None
    except ValueError:
        return None
