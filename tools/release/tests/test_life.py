"""A simulated life in a clone: a fix in one package, a breaking change in another, a change of the docs."""

import json
import subprocess

from release.shell import Exit


def test_a_life(tree, run, tmp_path):
    tree.git("tag", "alpha-v0.2.0")
    tree.git("tag", "alpha-beta-v1.1.0")
    bare = tmp_path / "origin.git"
    subprocess.run(["git", "clone", "-q", "--bare", tree.root, bare], check=True)
    tree.git("remote", "add", "origin", str(bare))
    tree.git("fetch", "--quiet", "origin")

    def affected():
        return json.loads(run("affected", "--json").out)

    def merge(message):
        tree.commit(message)
        tree.git("push", "--quiet", "origin", "main")

    tree.write("docs/guide.md", "# Guide\n")
    assert affected() == []
    merge("docs: add a guide")
    assert [line.split()[-1] for line in run("release", "list").out.splitlines()[1:]] == ["0", "0"]

    tree.edit("packages/alpha/src/alpha/_scale.py", "value * factor", "factor * value")
    tree.edit("packages/alpha/CHANGELOG.md", "## [Unreleased]\n", "## [Unreleased]\n\n### Fixed\n\n- Order.\n")
    assert affected() == ["alpha"]
    merge("alpha: multiply in order")
    assert run("release", "plan", "alpha").code == Exit.REFUSED
    assert run("release", "bump", "alpha", "patch").out == "0.2.1\n"
    assert affected() == ["alpha"]
    assert run("release", "plan", "alpha").code == Exit.REFUSED
    merge("alpha: release 0.2.1")
    tree.git("tag", "alpha-v0.2.1")
    assert run("release", "plan", "--tag", "alpha-v0.2.1").code == 0

    tree.edit("packages/alpha-beta/src/alphabeta/_scale.py", "factor: float = 2.0", "by: float = 2.0")
    tree.edit("packages/alpha-beta/src/alphabeta/_scale.py", "* factor", "* by")
    tree.edit("packages/alpha-beta/CHANGELOG.md", "## [Unreleased]\n", "## [Unreleased]\n\n### Changed\n\n- `by`.\n")
    assert affected() == ["alpha-beta"]
    merge("alpha-beta: rename factor")
    assert run("release", "bump", "alpha-beta", "minor").out == "1.2.0\n"
    merge("alpha-beta: release 1.2.0")
    refusal = run("release", "plan", "alpha-beta")
    assert refusal.code == Exit.REFUSED
    assert "must be a major step" in refusal.last
    assert [line.split()[-1] for line in run("release", "list").out.splitlines()[1:]] == ["0", "2"]
