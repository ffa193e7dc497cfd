import pytest
from release import changelog
from release.shell import Exit

WAITING = "## [Unreleased]\n\n### Added\n\n- A thing.\n"


@pytest.mark.parametrize(
    ("size", "version"),
    [("patch", "0.2.1"), ("minor", "0.3.0"), ("major", "1.0.0")],
)
def test_two_files_change_and_nothing_is_committed(tree, run, size, version):
    tree.edit("packages/alpha/CHANGELOG.md", "## [Unreleased]\n", WAITING)
    tree.commit()
    before, head = tree.snapshot(), tree.git("for-each-ref")
    assert run("release", "bump", "alpha", size).out == f"{version}\n"
    after = tree.snapshot()
    assert {path for path in after.keys() | before.keys() if before.get(path) != after.get(path)} == {
        "packages/alpha/pyproject.toml",
        "packages/alpha/CHANGELOG.md",
    }
    assert tree.git("for-each-ref") == head
    member = tree.workspace.package("alpha")
    assert str(member.version) == version
    assert changelog.faults(member.changelog.read_text(), member.version) == []


def test_a_dry_run_writes_nothing(tree, run):
    tree.edit("packages/alpha/CHANGELOG.md", "## [Unreleased]\n", WAITING)
    before = tree.snapshot()
    outcome = run("release", "bump", "alpha", "minor", "--dry-run")
    assert (outcome.code, outcome.out) == (0, "0.3.0\n")
    assert tree.snapshot() == before


def test_nothing_to_say_is_nothing_to_release(tree, run):
    before = tree.snapshot()
    outcome = run("release", "bump", "alpha", "minor")
    assert outcome.code == Exit.REFUSED
    assert "nothing under Unreleased" in outcome.last
    assert tree.snapshot() == before


def test_a_faulty_changelog_is_refused_before_anything_is_written(tree, run):
    tree.edit("packages/alpha/CHANGELOG.md", "### Added", "### New")
    before = tree.snapshot()
    assert run("release", "bump", "alpha", "minor").code == Exit.REFUSED
    assert tree.snapshot() == before


def test_an_unknown_size_exits_with_2(run):
    assert run("release", "bump", "alpha", "huge").code == Exit.BROKEN
