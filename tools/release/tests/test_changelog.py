from datetime import date

import pytest
from packaging.version import Version
from release import changelog

GOOD = """# Changelog

## [Unreleased]

## [0.10.0] - 2026-11-21

### Changed

- `step` returns the loss, see [torch](https://docs.example.org).
- Another one,
  on two lines.

### Fixed

- A thing.

## [0.9.0] - 2026-11-20

### Added

- The package.

[0.9.0]: https://example.org/0.9.0
"""


def test_a_good_changelog_has_no_fault():
    assert changelog.faults(GOOD, Version("0.10.0")) == []


def test_entries_are_counted_by_kind():
    newest = changelog.sections(GOOD)[1]
    assert newest.entries == {"Changed": 2, "Fixed": 1}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("## [Unreleased]\n\n", "", "Unreleased"),
        ("## [Unreleased]", "## [Unreleased] - 2026-11-22", "Unreleased"),
        ("## [0.10.0] - 2026-11-21", "## [0.11.0] - 2026-11-21", "newest release must be [0.10.0]"),
        ("- 2026-11-21", "- 21.11.2026", "YYYY-MM-DD"),
        ("- 2026-11-21", "- 2026-11-31", "YYYY-MM-DD"),
        ("## [0.10.0] - 2026-11-21", "## [0.10.0]", "YYYY-MM-DD"),
        ("- 2026-11-21", "- 2026-11-19", "newer than"),
        ("## [0.9.0]", "## [0.10.0]", "newer than"),
        ("## [0.9.0]", "## [0.11.0]", "newer than"),
        ("## [0.9.0]", "## [first]", "PEP 440"),
        ("## [0.9.0] - 2026-11-20", "## 0.9.0 (2026-11-20)", "must be `## [version] - date`"),
        ("### Changed", "### Improved", "'Improved'"),
        ("### Fixed", "### Changed", "once"),
        ("- A thing.\n", "", "'Fixed' under [0.10.0]"),
        ("### Added\n\n- The package.\n", "", "[0.9.0] must have an entry"),
        ("(https://docs.example.org)", "(../README.md)", "absolute"),
        ("[0.9.0]: https", "[0.8.0]: https", "belongs to no section"),
        ("[0.9.0]: https://example.org/0.9.0", "[0.9.0]: compare/0.9.0", "absolute"),
    ],
)
def test_each_fault_is_named(old, new, said):
    assert old in GOOD
    faults = changelog.faults(GOOD.replace(old, new, 1), Version("0.10.0"))
    assert any(said in fault for fault in faults), faults


def test_links_inside_code_are_no_links():
    text = GOOD.replace("A thing.", "`a[0](b)` works.")
    assert changelog.faults(text, Version("0.10.0")) == []


def test_releasing_moves_what_was_unreleased_and_leaves_the_rest_alone():
    waiting = GOOD.replace("## [Unreleased]\n", "## [Unreleased]\n\n### Fixed\n\n- New.\n")
    text = changelog.release(waiting, Version("0.10.1"), date(2026, 12, 1))
    assert changelog.faults(text, Version("0.10.1")) == []
    assert [section.label for section in changelog.sections(text)] == ["Unreleased", "0.10.1", "0.10.0", "0.9.0"]
    assert changelog.sections(text)[0].body == ""
    assert changelog.sections(text)[1].body == "### Fixed\n\n- New."
    assert text.replace("\n\n## [0.10.1] - 2026-12-01", "") == waiting
