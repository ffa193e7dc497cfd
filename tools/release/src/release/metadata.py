"""What an index shows of a package, read from the built wheel."""

import re
import zipfile
from pathlib import Path

from packaging.metadata import Metadata
from trove_classifiers import classifiers as known_classifiers

from release.workspace import Member

WANTED = ("Development Status ::", "Intended Audience ::", "Programming Language :: Python :: 3.11", "Typing :: Typed")


def read(wheel: Path) -> Metadata:
    """Read and validate a wheel's METADATA."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        return Metadata.from_email(archive.read(name), validate=True)


def faults(wheel: Path, member: Member) -> list[str]:
    """Say what is missing for a page on an index that tells a reader all they need."""
    data = read(wheel)
    wrong = _unless(
        {
            f"name and version must be {member.name} {member.version}": (data.name, data.version)
            == (member.name, member.version),
            "the summary must be one line of at most 200 characters": 0 < len(data.summary or "") <= 200,
            "there must be keywords": bool(data.keywords),
            "there must be a license expression": bool(data.license_expression),
            "there must be a requires-python": data.requires_python is not None,
            "every project URL must be https, and there must be one": bool(data.project_urls)
            and all(url.startswith("https://") for url in (data.project_urls or {}).values()),
            "the description must be Markdown": (data.description_content_type or "").startswith("text/markdown")
            and bool((data.description or "").strip()),
            "there must be an extra `dev`": "dev" in (data.provides_extra or []),
            "there must be an author": bool(data.author or data.author_email),
        }
    )
    wrong += _license_faults(wheel, data)
    listed = data.classifiers or []
    wrong += [f"the classifier {name!r} is not known" for name in listed if name not in known_classifiers]
    wrong += [f"a classifier {want!r} is missing" for want in WANTED if not any(c.startswith(want) for c in listed)]
    return wrong + [f"the README links to {link!r}, which no index resolves" for link in relative_links(data)]


def relative_links(data: Metadata) -> list[str]:
    """List the links of the long description that only work inside the repository."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", data.description or "", flags=re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)\s]+)", text) if not re.match(r"https?://|#|mailto:", link)]


def _license_faults(wheel: Path, data: Metadata) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    wanted = data.license_files or []
    if not wanted:
        return ["there must be a license file"]
    return [
        f"the license file {name} is not in the wheel"
        for name in wanted
        if not any(held.endswith(f".dist-info/licenses/{name}") for held in names)
    ]


def _unless(rules: dict[str, bool]) -> list[str]:
    return [rule for rule, holds in rules.items() if not holds]
