import subprocess

import pytest
from release.shell import Exit

FIXED = "## [Unreleased]\n\n### Fixed\n\n- A thing.\n"
REMOVED = "## [Unreleased]\n\n### Removed\n\n- `factor`.\n"


def released(tree, tag="alpha-v0.2.0"):
    tree.git("tag", tag)
    return tag


def bumped(tree, run, size, notes=FIXED):
    tree.edit("packages/alpha/CHANGELOG.md", "## [Unreleased]\n", notes)
    assert run("release", "bump", "alpha", size).code == 0
    tree.commit()


def broken(tree, name="alpha", module="alpha"):
    tree.edit(f"packages/{name}/src/{module}/_scale.py", "factor", "by")


def test_a_first_release_is_planned(run):
    outcome = run("release", "plan", "alpha")
    assert outcome.code == 0
    assert outcome.out.splitlines() == [
        "dist=alpha", "version=0.2.0", "tag=alpha-v0.2.0", "previous=", "api_breaks=0",
    ]  # fmt: skip


def test_a_pushed_tag_names_its_package(tree, run):
    released(tree, "alpha-beta-v1.1.0")
    outcome = run("release", "plan", "--tag", "alpha-beta-v1.1.0")
    assert (outcome.code, outcome.out.splitlines()[0]) == (0, "dist=alpha-beta")


def dirty(tree):
    tree.write("packages/alpha/new.txt", "x")


def changed(tree):
    tree.write("README.md", "changed")


def ahead_of_main(tree):
    tree.git("switch", "--quiet", "--create", "topic")
    tree.commit()


def tagged_before(tree):
    released(tree)
    tree.commit()


def tagged_above(tree):
    released(tree, "alpha-v0.3.0")


def without_changelog(tree):
    tree.git("rm", "--quiet", "packages/alpha/CHANGELOG.md")
    tree.commit()


def with_another_version(tree):
    tree.edit("packages/alpha/pyproject.toml", '"0.2.0"', '"0.2.1"')
    tree.commit()


def as_it_is(tree):
    del tree


REFUSALS = [
    (as_it_is, ["gamma"], Exit.BROKEN, "NAME must be one of alpha, alpha-beta, got 'gamma'"),
    (as_it_is, ["kit"], Exit.REFUSED, "kit is a tool"),
    (as_it_is, [], Exit.BROKEN, "give a NAME"),
    (as_it_is, ["--tag", "kit-v0.0.0"], Exit.REFUSED, "kit is a tool"),
    (as_it_is, ["--tag", "v0.2.0"], Exit.REFUSED, "a tag must be <dist>-v<version>"),
    (as_it_is, ["--tag", "alpha-v0.2.0"], Exit.REFUSED, "must be in the repository"),
    (as_it_is, ["alpha", "--tag", "alpha-beta-v1.1.0"], Exit.REFUSED, "the tag must name alpha"),
    (as_it_is, ["--tag", "alpha-v0.2.1"], Exit.REFUSED, "is at 0.2.0, the tag is alpha-v0.2.1"),
    (with_another_version, ["alpha"], Exit.REFUSED, "newest release must be [0.2.1]"),
    (without_changelog, ["alpha"], Exit.REFUSED, "must exist"),
    (dirty, ["alpha"], Exit.REFUSED, "`?? packages/alpha/new.txt`"),
    (changed, ["alpha"], Exit.REFUSED, "`M README.md`"),
    (ahead_of_main, ["alpha"], Exit.REFUSED, "HEAD must be an ancestor of main"),
    (tagged_before, ["alpha"], Exit.REFUSED, "alpha-v0.2.0 points at"),
    (tagged_above, ["alpha"], Exit.REFUSED, "0.2.0 must be above 0.3.0"),
]


@pytest.mark.parametrize(("prepare", "arguments", "code", "said"), REFUSALS)
def test_each_refusal_is_one_line_with_its_own_code(tree, run, prepare, arguments, code, said):
    prepare(tree)
    before = tree.snapshot()
    outcome = run("release", "plan", *arguments)
    assert outcome.code == code
    assert said in outcome.last
    assert outcome.last.startswith("release: ")
    assert outcome.out == ""
    assert sum(not line.startswith("$ ") for line in outcome.err.splitlines()) == 1
    assert tree.snapshot() == before


def test_a_shallow_clone_is_refused(tree, run, tmp_path):
    tree.commit()
    shallow = tmp_path / "shallow"
    subprocess.run(["git", "clone", "-q", "--depth=1", tree.root.as_uri(), shallow], check=True)
    outcome = run("release", "plan", "alpha", where=shallow)
    assert outcome.code == Exit.REFUSED
    assert "git fetch --unshallow" in outcome.last


def test_the_remote_main_decides_in_a_clone(tree, run, tmp_path):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", tree.root.as_uri(), clone], check=True)
    assert run("release", "plan", "alpha", where=clone).code == 0
    subprocess.run(["git", "commit", "-q", "--allow-empty", "-m", "x"], cwd=clone, check=True)
    assert run("release", "plan", "alpha", where=clone).code == Exit.REFUSED


def test_a_fix_may_be_a_patch(tree, run):
    released(tree)
    tree.edit("packages/alpha/src/alpha/_scale.py", "value * factor", "factor * value")
    bumped(tree, run, "patch")
    outcome = run("release", "plan", "alpha")
    assert (outcome.code, outcome.out.splitlines()[1:4]) == (
        0, ["version=0.2.1", "tag=alpha-v0.2.1", "previous=alpha-v0.2.0"],
    )  # fmt: skip


def test_a_break_below_1_needs_a_minor_step(tree, run):
    released(tree)
    broken(tree)
    bumped(tree, run, "patch", REMOVED)
    outcome = run("release", "plan", "alpha")
    assert outcome.code == Exit.REFUSED
    assert "0.2.0 → 0.2.1 must be a minor step" in outcome.last
    assert "scale" in outcome.last


def test_a_break_needs_an_entry_under_changed_or_removed(tree, run):
    released(tree)
    broken(tree)
    bumped(tree, run, "minor", FIXED)
    outcome = run("release", "plan", "alpha")
    assert outcome.code == Exit.REFUSED
    assert "under Changed or Removed" in outcome.last


def test_a_break_below_1_that_is_said_may_be_a_minor_step(tree, run):
    released(tree)
    broken(tree)
    bumped(tree, run, "minor", REMOVED)
    outcome = run("release", "plan", "alpha")
    assert outcome.code == 0
    assert "api_breaks=2" in outcome.out or "api_breaks=1" in outcome.out


def test_a_break_from_1_needs_a_major_step(tree, run):
    released(tree, "alpha-beta-v1.1.0")
    broken(tree, "alpha-beta", "alphabeta")
    tree.edit("packages/alpha-beta/CHANGELOG.md", "## [Unreleased]\n", REMOVED)
    assert run("release", "bump", "alpha-beta", "minor").code == 0
    tree.commit()
    assert "must be a major step" in run("release", "plan", "alpha-beta").last
    tree.edit("packages/alpha-beta/pyproject.toml", '"1.2.0"', '"2.0.0"')
    tree.edit("packages/alpha-beta/CHANGELOG.md", "[1.2.0]", "[2.0.0]")
    tree.commit()
    assert run("release", "plan", "alpha-beta").code == 0


def test_the_api_is_compared_with_the_last_final_release(tree, run):
    released(tree)
    broken(tree)
    bumped(tree, run, "minor", REMOVED)
    tree.edit("packages/alpha/pyproject.toml", '"0.3.0"', '"0.3.0rc1"')
    tree.edit("packages/alpha/CHANGELOG.md", "[0.3.0]", "[0.3.0rc1]")
    tree.commit()
    released(tree, "alpha-v0.3.0rc1")
    tree.edit("packages/alpha/src/alpha/_scale.py", "by", "times")
    tree.edit("packages/alpha/pyproject.toml", '"0.3.0rc1"', '"0.3.0"')
    tree.edit("packages/alpha/CHANGELOG.md", "[0.3.0rc1]", "[0.3.0]")
    tree.commit()
    outcome = run("release", "plan", "alpha")
    assert outcome.code == 0, outcome.last
    assert "previous=alpha-v0.3.0rc1" in outcome.out


def test_planning_leaves_no_worktree_and_no_branch_behind(tree, run):
    released(tree)
    bumped(tree, run, "patch")
    before = tree.git("for-each-ref"), tree.git("worktree", "list")
    run("release", "plan", "alpha")
    assert (tree.git("for-each-ref"), tree.git("worktree", "list")) == before


def test_the_notes_are_the_section_of_the_version(run):
    assert run("release", "notes", "alpha").out == "### Added\n\n- The package.\n"
